package kafka

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/pump"
)

func TestRecord(t *testing.T) {
	w := newWorld(t)
	for _, compression := range compressions {
		target := w.open(func(c *Config) { c.Compression = compression })
		w.send(target, []*pump.Record{w.record(target, "meter-1", 5, strings.Repeat("x", 1000))})
		target.Close()
	}
	all := w.read("t")
	if len(all) != len(compressions) {
		t.Fatalf("%d records", len(all))
	}
	// Other clients of Kafka look for a key in the same partition.
	want := int32(kgo.StickyKeyPartitioner(nil).ForTopic("t").Partition(&kgo.Record{Key: []byte("meter-1")}, 2))
	for _, r := range all {
		headers := fmt.Sprint(r.Headers)
		if string(r.Key) != "meter-1" || len(r.Value) != 1000 || r.Timestamp.UnixMilli() != 1005 || r.Partition != want {
			t.Errorf("%+v", r)
		}
		for _, h := range []kgo.RecordHeader{
			{Key: "longline-place", Value: []byte("7/s/5")}, {Key: "longline-source", Value: []byte("meter-1")}, {Key: "content-type", Value: []byte("text/plain")},
			{Key: "longline-topic", Value: []byte("device/meter-1/telemetry")},
		} {
			if !strings.Contains(headers, fmt.Sprint(h)) {
				t.Errorf("no header %v in %v", h, headers)
			}
		}
	}
}

// A device cannot pass for another by properties that look like what the gateway says.
func TestForgedHeaders(t *testing.T) {
	w := newWorld(t)
	target := w.open(nil)
	defer target.Close()
	m := &message.Message{Topic: "t", Source: "meter-1", ContentType: "text/plain", Properties: []message.Property{
		{Key: "longline-source", Value: "meter-2"}, {Key: "content-type", Value: "x"}, {Key: "unit", Value: "kWh"},
	}}
	v := route.View{Node: 7, Stream: "s"}
	v.Reset(m)
	r := &pump.Record{Message: m}
	if err := target.Prepare(&v, r); err != nil {
		t.Fatal(err)
	}
	got := make(map[string][]string)
	for _, h := range r.Headers {
		got[h.Name] = append(got[h.Name], h.Value)
	}
	if fmt.Sprint(got["longline-source"], got["content-type"], got["unit"]) != "[meter-1] [text/plain] [kWh]" {
		t.Error(r.Headers)
	}
}

// Partitions are added, and a device's records stay where they were, also when the gateway has restarted, until the configuration says otherwise.
func TestPartitionsAreAdded(t *testing.T) {
	w := newWorld(t)
	const devices = 20
	partitions := func() map[string]map[int32]bool {
		all := make(map[string]map[int32]bool)
		for _, r := range w.read("t") {
			if all[string(r.Key)] == nil {
				all[string(r.Key)] = make(map[int32]bool)
			}
			all[string(r.Key)][r.Partition] = true
		}
		return all
	}
	target := w.open(nil)
	w.send(target, w.records(target, 1, 100, devices))
	if _, err := kadm.NewClient(w.client()).CreatePartitions(t.Context(), 3, "t"); err != nil {
		t.Fatal(err)
	}
	w.send(target, w.records(target, 101, 200, devices))
	target.Close()
	target = w.open(nil)
	w.send(target, w.records(target, 201, 300, devices))
	target.Close()
	for device, in := range partitions() {
		if len(in) != 1 {
			t.Errorf("%s is in partitions %v", device, in)
		}
	}
	for _, change := range []func(*Config){func(c *Config) { c.Partitions = 5 }, nil} { // once said, it stays
		target = w.open(change)
		w.send(target, w.records(target, 301, 400, devices))
		target.Close()
	}
	used := make(map[int32]bool)
	moved := 0
	for _, in := range partitions() {
		for p := range in {
			used[p] = true
		}
		if len(in) > 2 {
			t.Errorf("a device is in partitions %v", in)
		}
		moved += len(in) - 1
	}
	if len(used) != 5 || moved == 0 {
		t.Errorf("partitions %v are used, and %d devices moved", used, moved)
	}
}
