package model

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/model/inference"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/setting"
)

// publishing is sum as a model that publishes its answers.
func publishing(s *server) Config {
	c := sum(s, "payload.t")
	c.Filters, c.Output = []string{"device/+/telemetry"}, Output{Publish: "device/{source}/anomaly"}
	return c
}

// listen subscribes to what models publish, and returns a function that waits for the next publications.
func listen(t *testing.T, r *router.Router) (next func(n int) []*message.Message) {
	t.Helper()
	b := r.OpenInbox(router.InboxConfig{}, []string{"device/+/anomaly"}, message.AtLeastOnce, false)
	t.Cleanup(func() { b.Close(nil) })
	var have []*message.Message
	return func(n int) []*message.Message {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		for len(have) < n {
			batch, _, err := b.Take(ctx, nil)
			if err != nil {
				t.Fatalf("%d of %d publications: %v", len(have), n, err)
			}
			have = append(have, batch...)
		}
		first := have[:n]
		have = have[n:]
		return first
	}
}

func publish(t *testing.T, r *router.Router, m *message.Message) {
	t.Helper()
	if _, err := r.Publish(m, nil); err != nil {
		t.Fatal(err)
	}
}

// The answers are published in the order of the messages, whatever the order of the calls.
func TestPublish(t *testing.T) {
	b := newServer(t)
	c := publishing(b)
	c.Batch.Messages, c.InFlight, c.Where = 3, 4, "payload.t >= 0"
	_, r := openSet(t, setting.Named[Config]{"m": c})
	next := listen(t, r)
	b.become(func(q *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		time.Sleep(time.Duration(int(rows(q)[0][0])%3) * time.Millisecond)
		return sums(q)
	})
	const devices, each = 3, 40
	publish(t, r, reading("d0", `{"t":-1}`)) // where leaves it out
	for n := range each {
		for d := range devices {
			publish(t, r, reading(fmt.Sprint("d", d), fmt.Sprintf(`{"t":%d}`, n)))
		}
	}
	var of [devices]int
	for _, m := range next(devices * each) {
		var d int
		if _, err := fmt.Sscanf(m.Topic, "device/d%d/anomaly", &d); err != nil {
			t.Fatal(m.Topic)
		}
		if want := fmt.Sprintf(`{"score":%d}`, of[d]); string(m.Payload) != want || !slices.Equal(m.Properties, []message.Property{{Key: ResultProperty, Value: "ok"}}) || m.QoS != message.AtLeastOnce ||
			m.Origin.Via != message.ViaGateway || m.Source != "" || m.ContentType != message.JSON {
			t.Fatalf("%s: %s, want %s: %+v", m.Topic, m.Payload, want, m)
		}
		of[d]++
	}
}

// A publication says so if there is no answer.
func TestPublishWithout(t *testing.T) {
	b := newServer(t)
	c := publishing(b)
	c.Output.Publish = "device/{payload.name}/anomaly"
	set, r := openSet(t, setting.Named[Config]{"m": c})
	next := listen(t, r)
	publish(t, r, reading("a", `{"t":"x","name":"a"}`))
	m := next(1)[0]
	if !slices.Contains(m.Properties, message.Property{Key: ResultProperty, Value: "unfit"}) || string(m.Payload) != "{}" || m.Topic != "device/a/anomaly" {
		t.Errorf("%+v", m)
	}
	publish(t, r, reading("a", `{"t":1,"name":"a/b"}`)) // no topic for the answer
	publish(t, r, reading("a", `{"t":1,"name":"+"}`))
	publish(t, r, reading("a", `{"t":1}`))
	b.become(func(*inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("away"))
	})
	publish(t, r, reading("a", `{"t":1,"name":"c"}`))
	m = next(1)[0]
	if !slices.Equal(m.Properties, []message.Property{{Key: ResultProperty, Value: "unavailable"}, {Key: ReasonProperty, Value: errAway.Error()}}) || string(m.Payload) != "{}" || m.Topic != "device/c/anomaly" {
		t.Errorf("%+v", m)
	}
	if i := set.All()[0].Info(); i.Messages["unfit"] != 4 || i.Messages["unavailable"] != 1 {
		t.Errorf("%+v", i)
	}
}

// While the model is slow, messages wait in a queue with bounds. Beyond them the model is not asked, and publishers do not wait.
func TestQueue(t *testing.T) {
	b := newServer(t)
	c := publishing(b)
	c.Batch.Messages, c.InFlight, c.Queue.Messages = 1, 1, 10
	set, r := openSet(t, setting.Named[Config]{"m": c})
	next := listen(t, r)
	release := make(chan struct{})
	b.become(func(q *inference.ModelInferRequest) (*inference.ModelInferResponse, error) { <-release; return sums(q) })
	m := set.All()[0]
	dropped := func() (all int) {
		r.Drops.Each(func(_ string, n uint64) { all += int(n) })
		return all
	}
	n := 0
	until(t, "a full queue", func() bool {
		publish(t, r, reading("a", `{"t":1}`))
		n++
		return m.Info().Waiting == 10 && dropped() > 0
	})
	close(release)
	lost := dropped()
	next(n - lost)
	publish(t, r, reading("a", `{"t":1}`))
	next(1)
	if i := m.Info(); i.Messages["busy"] != uint64(lost) || i.Messages["ok"] != uint64(n-lost+1) {
		t.Errorf("%d of %d dropped: %+v", lost, n, i)
	}
}
