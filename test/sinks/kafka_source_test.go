//go:build servers

package sinks

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/sink/sinktest"
	"github.com/longline/longline/internal/source"
	"github.com/longline/longline/internal/source/feed"
	"github.com/longline/longline/internal/source/kafka"
	"github.com/longline/longline/internal/stream"
	"github.com/longline/longline/test/servers"
)

// TestKafkaSource takes records while connections are cut, the source restarts and, in the long form, Kafka is killed: each is in the stream at least once, in the order of its key.
func TestKafkaSource(t *testing.T) {
	proxy := sinktest.NewProxy(t)
	k := servers.StartKafka(t, servers.KafkaBehind(proxy.Address()))
	proxy.To(k.Address())
	writer, err := kgo.NewClient(kgo.SeedBrokers(k.SASL()), kgo.DefaultProduceTopic("orders"),
		kgo.SASL(plain.Auth{User: servers.KafkaUser, Pass: servers.KafkaPassword}.AsMechanism()))
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if _, err := kadm.NewClient(writer).CreateTopics(t.Context(), 3, 1, nil, "orders"); err != nil {
		t.Fatal(err)
	}
	g := sinktest.NewGateway(t)
	open := func() *source.Set {
		c := source.Config{Feed: feed.Config{Publish: feed.Publish{Topic: "device/{source}/order"}}, Kafka: kafka.Config{Topics: []string{"orders"}, Timeout: 2 * time.Second}}
		c.Kafka.Brokers = []string{proxy.Address()}
		c = c.WithDefaults()
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		set, err := source.Open(setting.Named[source.Config]{"erp": c}, source.Options{Number: 1, Log: sinktest.Log, Node: feed.Node{Publish: g.Publish}})
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	devices, records := 10, times(1000, 3000)
	written := make(chan error, 1)
	go func() {
		for n := range records {
			r := &kgo.Record{Key: fmt.Appendf(nil, "d%d", n%devices), Value: fmt.Append(nil, 1+n/devices)}
			if err := writer.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	set := open()
	for round := range times(2, 3) {
		time.Sleep(300 * time.Millisecond)
		switch round {
		case 0:
			proxy.Cut()
		case 1:
			set.Close()
			set = open()
		case 2:
			k.Kill()
			proxy.Cut()
			k.Restart()
		}
	}
	defer func() { set.Close() }()
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	r, err := g.Streams.Get(sinktest.Stream).Open("", stream.First)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	last, again := make(map[string]int), 0
	for left := records; left > 0; {
		entries, _, err := r.Take(t.Context(), 1000, 1<<20, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			var n int
			if _, err := fmt.Sscan(string(e.Message.Payload), &n); err != nil {
				t.Fatalf("%q: %v", e.Message.Payload, err)
			}
			switch next := last[e.Message.Topic] + 1; {
			case n == next:
				last[e.Message.Topic] = n
				left--
			case n > next:
				t.Fatalf("%s: record %d came after %d", e.Message.Topic, n, next-1)
			default:
				again++
			}
		}
	}
	t.Logf("%d records came again", again)
}
