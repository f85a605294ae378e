package kafka

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/pump"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a Kafka in this process.
type world struct {
	*testing.T
	*kfake.Cluster
}

// newWorld returns a Kafka that has topic t with two partitions.
func newWorld(t *testing.T, more ...kfake.Opt) *world {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(2, "t")}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &world{t, c}
}

// open opens a target that writes to topic t, unless change says otherwise.
func (w *world) open(change func(*Config)) pump.Target {
	w.Helper()
	c := Config{Topic: "t", Timeout: 20 * time.Second}
	c.Brokers = w.ListenAddrs()
	if change != nil {
		change(&c)
	}
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		w.Fatal(err)
	}
	target, err := Open(c, pump.Options{Name: "main", Stream: "s", Node: 7, Watcher: new(reload.Watcher), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		w.Fatal(err)
	}
	return target
}

// record prepares the record of message n of a device, whose payload is text.
func (w *world) record(target pump.Target, device string, n int, text string) *pump.Record {
	w.Helper()
	m := &message.Message{Topic: "device/" + device + "/telemetry", Source: device, Payload: []byte(text), ContentType: "text/plain", Time: 1_000 + int64(n)}
	v := route.View{Node: 7, Stream: "s"}
	v.Reset(m)
	v.Place = uint64(n)
	r := &pump.Record{Place: v.Place, Time: time.UnixMilli(m.Time), Message: m, Key: device}
	if err := target.Prepare(&v, r); err != nil {
		w.Fatal(err)
	}
	return r
}

// records prepares records from..to of devices that take turns; the payload of record n is its number.
func (w *world) records(target pump.Target, from, to, devices int) (all []*pump.Record) {
	w.Helper()
	for n := from; n <= to; n++ {
		all = append(all, w.record(target, fmt.Sprintf("d%d", n%devices), n, fmt.Sprint(n)))
	}
	return all
}

// send sends records, which have to be confirmed.
func (w *world) send(target pump.Target, records []*pump.Record) {
	w.Helper()
	if done, err := target.Send(w.Context(), records); err != nil || done != len(records) {
		w.Fatalf("%d of %d: %v", done, len(records), err)
	}
}

// client returns a client that ends with the test.
func (w *world) client(more ...kgo.Opt) *kgo.Client {
	w.Helper()
	c, err := kgo.NewClient(append(more, kgo.SeedBrokers(w.ListenAddrs()...))...)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(c.Close)
	return c
}

// read returns what a topic has that is committed, in the order of each partition.
func (w *world) read(topic string) (all []*kgo.Record) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 20*time.Second)
	defer cancel()
	c := w.client(kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, topic)
	if err != nil {
		w.Fatal(err)
	}
	left := 0
	next := make(map[int32]int64)
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left++
			next[o.Partition] = o.Offset
		}
	})
	for left > 0 {
		fetched := c.PollFetches(ctx)
		if err := fetched.Err(); err != nil {
			w.Fatal(err)
		}
		fetched.EachRecord(func(r *kgo.Record) {
			if r.Offset == next[r.Partition]-1 {
				left--
			}
			if !r.Attrs.IsControl() {
				all = append(all, r)
			}
		})
	}
	return all
}

// control makes the Kafka answer requests of a kind by answer, until that returns nil for the first time.
func (w *world) control(kind kmsg.Key, answer func(kmsg.Request) kmsg.Response) {
	w.ControlKey(int16(kind), func(r kmsg.Request) (kmsg.Response, error, bool) {
		response := answer(r)
		if response != nil {
			w.KeepControl()
		}
		return response, nil, response != nil
	})
}

func template(t *testing.T, text string) route.Template {
	t.Helper()
	parsed, err := route.ParseTemplate(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
