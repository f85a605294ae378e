package api

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

type responses = connect.ServerStreamForClient[longlinev1.SubscribeResponse]

// open subscribes and returns when the subscription is active. Before the test ends, the stream is closed and the
// API has noticed it.
func open(t testing.TB, w *world, c longlinev1connect.GatewayClient, r *longlinev1.SubscribeRequest) *responses {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := c.Subscribe(ctx, connect.NewRequest(r))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = s.Close() })
	if !s.Receive() || len(s.Msg().Messages) > 0 {
		t.Fatalf("want an empty response first, got %v, %v", s.Msg(), s.Err())
	}
	return s
}

// receive collects the next n messages.
func receive(t testing.TB, s *responses, n int) (list []*longlinev1.Message) {
	t.Helper()
	for len(list) < n && s.Receive() {
		list = append(list, s.Msg().Messages...)
	}
	if len(list) != n {
		t.Fatalf("got %d messages, want %d: %v", len(list), n, s.Err())
	}
	return list
}

func TestSubscribeShowsAllOfAMessage(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		at := time.UnixMilli(1_700_000_000_123)
		if _, err := publish(t.Context(), c, &longlinev1.Message{Topic: "state/a", Payload: []byte("on"), Retain: true}); err != nil {
			t.Fatal(err)
		}
		s := open(t, w, c, &longlinev1.SubscribeRequest{Filters: []string{"state/#", "device/+/x"}, Qos: 1, Retained: true})
		m := &message.Message{
			Topic:       "device/d/x",
			Payload:     []byte{1, 0xff},
			ContentType: "application/octet-stream",
			Properties:  []message.Property{{Key: "k", Value: "v"}},
			Source:      "d",
			Time:        at.UnixMilli(),
			Expiry:      time.Now().Add(time.Hour).UnixMilli(),
			QoS:         1,
		}
		if _, err := w.router.Publish(m, nil); err != nil {
			t.Fatal(err)
		}
		got := receive(t, s, 2)
		if !got[0].Retain || got[0].Topic != "state/a" || got[0].Source != "" {
			t.Errorf("retained: %v", got[0])
		}
		want := &longlinev1.Message{
			Topic:       "device/d/x",
			Payload:     []byte{1, 0xff},
			ContentType: "application/octet-stream",
			Properties:  []*longlinev1.Property{{Key: "k", Value: "v"}},
			Source:      "d",
			Ts:          timestamppb.New(at),
			Expiry:      durationpb.New(time.Duration(m.Expiry-m.Time) * time.Millisecond),
			Qos:         1,
			Id:          got[1].Id,
		}
		if got[1].Id <= got[0].Id || !proto.Equal(got[1], want) {
			t.Errorf("got  %v\nwant %v", got[1], want)
		}
	})
}

func TestSubscribeLowersQoSAndGivesText(t *testing.T) {
	w := newWorld(t, Config{}, router.Config{})
	s := open(t, w, w.client("grpc"), &longlinev1.SubscribeRequest{Filters: []string{"#"}, Text: true})
	for _, payload := range []string{"text", "\xff"} {
		if _, err := w.router.Publish(&message.Message{Topic: "a", Payload: []byte(payload), QoS: 1}, nil); err != nil {
			t.Fatal(err)
		}
	}
	got := receive(t, s, 2)
	if got[0].GetText() != "text" || got[0].Payload != nil || got[0].Qos != 0 {
		t.Errorf("UTF-8: %v", got[0])
	}
	if got[1].Text != nil || string(got[1].Payload) != "\xff" {
		t.Errorf("not UTF-8: %v", got[1])
	}
}

func TestBatchesAreCut(t *testing.T) {
	c := Config{Batch: router.InboxConfig{Messages: 3, Bytes: 100}}
	of := func(sizes ...int) (list []*message.Message) {
		for _, n := range sizes {
			list = append(list, &message.Message{Payload: make([]byte, n)})
		}
		return list
	}
	for _, test := range []struct {
		sizes []int
		want  int
	}{
		{[]int{1}, 1},
		{[]int{1, 1, 1}, 3},
		{[]int{1, 1, 1, 1}, 3},   // the limit of messages decides
		{[]int{50, 50, 1}, 2},    // the limit of bytes decides
		{[]int{1000, 1}, 1},      // a larger message is sent alone
		{[]int{1, 1000, 1}, 1},   // and the messages before it first
		{[]int{50, 51, 1, 1}, 1}, // never more than the limit of bytes
	} {
		if got := c.cut(of(test.sizes...)); got != test.want {
			t.Errorf("%v: cut at %d, want %d", test.sizes, got, test.want)
		}
	}
}

// When a reader stops, publishers of QoS 1 wait, and nothing is lost.
func TestSlowSubscriberSlowsPublishers(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		w.api.config.MaxPayload = 64 << 10
		s := open(t, w, c, &longlinev1.SubscribeRequest{Filters: []string{"t"}, Qos: 1, BufferMessages: 4})
		payload, sent := make([]byte, 64<<10), 0
		for waited := false; !waited; sent++ {
			if sent > 10_000 {
				t.Fatal("publishers never had to wait")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			n, err := w.api.publishAcknowledged(ctx, numbered(sent, payload))
			cancel()
			waited = errors.Is(err, context.DeadlineExceeded) // it stays in the line
			if !waited && (n != 1 || err != nil) {
				t.Fatal(n, err)
			}
		}
		for i, m := range receive(t, s, sent) {
			if got := m.Properties[0].Value; got != fmt.Sprint(i) {
				t.Fatalf("message %d has number %s", i, got)
			}
		}
		if n, err := w.api.publishAcknowledged(t.Context(), numbered(sent, nil)); n != 1 || err != nil {
			t.Errorf("after the reader went on: %d, %v", n, err)
		}
		receive(t, s, 1)
	})
}

func numbered(i int, payload []byte) *message.Message {
	return &message.Message{
		Topic: "t", QoS: 1, Payload: payload,
		Properties: []message.Property{{Key: "n", Value: fmt.Sprint(i)}},
	}
}

func TestMissedAndExpiredAreCounted(t *testing.T) {
	w := newWorld(t, Config{}, router.Config{})
	s, err := w.api.subscribe(t.Context(), selection{filters: []string{"t"}, buffer: router.InboxConfig{Messages: 2}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for i := range 5 {
		m := numbered(i, nil)
		m.QoS = 0
		if i == 0 {
			m.Expiry = 1 // long ago
		}
		_, _ = w.router.Publish(m, nil)
	}
	batch, missed, err := s.next(t.Context())
	if err != nil || len(batch) != 1 || batch[0].Properties[0].Value != "1" || missed != 3 {
		t.Errorf("got %d messages, %d missed, %v; want number 1, 3 missed", len(batch), missed, err)
	}
	counts := map[string]uint64{}
	w.router.Drops.Each(func(label string, n uint64) { counts[label] = n })
	if counts["backend_too_slow"] != 3 || counts["expired"] != 1 {
		t.Errorf("drops: %v", counts)
	}
}

func TestStreamEndsWithItsClient(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		ctx, cancel := context.WithCancel(t.Context())
		s, err := c.Subscribe(ctx, connect.NewRequest(&longlinev1.SubscribeRequest{Filters: []string{"a", "b", "a"}, Qos: 1}))
		if err != nil || !s.Receive() {
			t.Fatal(err, s.Err())
		}
		if n := w.router.Stats().Subscriptions; n != 2 {
			t.Errorf("%d subscriptions, want 2", n)
		}
		cancel()
		_ = s.Close()
		if code := w.ended(t, longlinev1connect.GatewaySubscribeProcedure); code != "canceled" {
			t.Errorf("ended with %s", code)
		}
		if n := w.router.Stats().Subscriptions; n != 0 || w.api.subscribers.Load() != 0 {
			t.Errorf("%d subscriptions and %d subscribers are left", n, w.api.subscribers.Load())
		}
	})
}

func TestSubscribersAreBounded(t *testing.T) {
	w := newWorld(t, Config{MaxSubscribers: 1}, router.Config{})
	open(t, w, w.client("grpc"), &longlinev1.SubscribeRequest{Filters: []string{"a"}})
	refused{"bound", subscribing(&longlinev1.SubscribeRequest{Filters: []string{"a"}}), connect.CodeResourceExhausted, "1 subscriptions are open"}.check(t, w.client("grpc"))
}

// The stream of a client that reads nothing is closed, so that publishers can go on.
func TestStalledSubscriberIsEnded(t *testing.T) {
	for _, protocol := range []string{"grpc", "json"} {
		t.Run(protocol, func(t *testing.T) {
			w := newWorld(t, Config{Stall: 50 * time.Millisecond}, router.Config{MaxWait: time.Minute})
			open(t, w, w.client(protocol), &longlinev1.SubscribeRequest{Filters: []string{"t"}, Qos: 1, BufferMessages: 4})
			for n := 1; n > 0; { // every publication is answered well within MaxWait
				var err error
				if n, err = w.api.publishAcknowledged(t.Context(), numbered(0, make([]byte, 256<<10))); err != nil {
					t.Fatal(err)
				}
			}
			w.ended(t, longlinev1connect.GatewaySubscribeProcedure)
		})
	}
}

// BenchmarkSubscribe moves messages from a publisher through the gateway to a gRPC client,
// all in this process. cpu-ns/msg is the processor time of all three, which is meaningful
// on a busy machine too.
func BenchmarkSubscribe(b *testing.B) {
	w := newWorld(b, Config{}, router.Config{})
	s := open(b, w, w.client("grpc"), &longlinev1.SubscribeRequest{Filters: []string{"device/+/telemetry"}, Qos: 1})
	b.SetBytes(128)
	b.ResetTimer()
	before := processorTime(b)
	go func() {
		m := &message.Message{Topic: "device/meter-17/telemetry", Source: "meter-17", Payload: make([]byte, 128), QoS: 1}
		for range b.N {
			m.Time = time.Now().UnixMilli()
			if _, err := w.api.publishAcknowledged(context.Background(), m); err != nil {
				b.Error(err)
			}
		}
	}()
	batches := 0
	for n := 0; n < b.N && s.Receive(); batches++ {
		n += len(s.Msg().Messages)
	}
	b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/msg")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64(b.N)/float64(batches), "msgs/batch")
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// The number of missed messages is reported with the next message, also if the messages in between have expired and
// a call of next gave up meanwhile, as in a stream of events.
func TestMissedOutlivesExpired(t *testing.T) {
	w := newWorld(t, Config{}, router.Config{})
	s, err := w.api.subscribe(t.Context(), selection{filters: []string{"t"}, buffer: router.InboxConfig{Messages: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, expiry := range []int64{1, 1, 0} {
		if expiry == 0 {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			if batch, _, err := s.next(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %d messages, %v; want none in time", len(batch), err)
			}
			cancel()
		}
		if _, err := w.router.Publish(&message.Message{Topic: "t", Expiry: expiry}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if batch, missed, err := s.next(t.Context()); err != nil || len(batch) != 1 || missed != 1 {
		t.Errorf("got %d messages, %d missed, %v; want 1 and 1", len(batch), missed, err)
	}
}

// When the node shuts down, a subscriber still gets the messages that publishers were told are
// safe: the stream ends after them.
func TestShutdownSendsWhatWasTaken(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		s := open(t, w, c, &longlinev1.SubscribeRequest{Filters: []string{"t"}, Qos: 1, BufferMessages: 4})
		payload, sent := make([]byte, 256<<10), 0
		for ; w.api.publishing.Load() < 20; sent++ { // the sockets and the buffer are full, and publishers wait
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			_, err := w.api.publishAcknowledged(ctx, numbered(sent, payload))
			cancel()
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
		w.api.Close()
		receive(t, s, sent)
		if s.Receive() || connect.CodeOf(s.Err()) != connect.CodeUnavailable {
			t.Errorf("the stream ended with %v", s.Err())
		}
	})
}
