//go:build servers

package sinks

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/longline/longline/internal/sink/kafka"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/sink/sinktest"
	"github.com/longline/longline/test/servers"
)

// A Kafka takes long to start, so there is one for both. It tells clients the address of a proxy in front of the contract's.
func TestKafka(t *testing.T) {
	front := sinktest.NewProxy(t)
	k := servers.StartKafka(t, servers.KafkaBehind(front.Address()), "message.max.bytes=20000")
	t.Run("at least once", func(t *testing.T) { sinktest.Run(t, kafkaServer(k, front, nil)) })
	t.Run("exactly once", func(t *testing.T) {
		sinktest.Run(t, kafkaServer(k, front, func(c *kafka.Config) { c.Transactional = true }))
	})
}

// kafkaServer is a Kafka for the contract, which runs.
func kafkaServer(k servers.Kafka, front *sinktest.Proxy, change func(*kafka.Config)) sinktest.Server {
	killed := false
	client := func(t testing.TB, more ...kgo.Opt) *kgo.Client {
		t.Helper()
		c, err := kgo.NewClient(append(more, kgo.SeedBrokers(k.SASL()),
			kgo.SASL(plain.Auth{User: servers.KafkaUser, Pass: servers.KafkaPassword}.AsMechanism()))...)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	opened := ""
	return sinktest.Server{
		Start: func(_ testing.TB, proxy string) string {
			front.To(proxy)
			if killed {
				k.Restart()
			}
			return k.Address()
		},
		Kill: func(testing.TB) {
			k.Kill()
			killed = true
		},
		Open: func(t testing.TB, proxy, where string, o pump.Options) pump.Target {
			if where != opened {
				c := client(t)
				defer c.Close()
				if _, err := kadm.NewClient(c).CreateTopics(t.Context(), 4, 1, nil, where); err != nil {
					t.Fatal(err)
				}
				opened = where
			}
			config := kafka.Config{Topic: where, Timeout: time.Second}
			config.Brokers = []string{proxy}
			if change != nil {
				change(&config)
			}
			target, err := kafka.Open(config.WithDefaults(), o)
			if err != nil {
				t.Fatal(err)
			}
			return target
		},
		Read: func(t testing.TB, where string) [][]byte {
			c := client(t, kgo.ConsumeTopics(where), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
			defer c.Close()
			return readAll(t, c, where)
		},
		Once: change != nil,
		Bad:  make([]byte, 30_000),
	}
}

// readAll returns the values of all committed records of a topic.
func readAll(t testing.TB, c *kgo.Client, topic string) (values [][]byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	last, left := make(map[int32]int64), 0
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			last[o.Partition] = o.Offset - 1
			left++
		}
	})
	for left > 0 {
		fetched := c.PollFetches(ctx)
		if err := fetched.Err0(); err != nil {
			t.Fatal(err)
		}
		fetched.EachRecord(func(r *kgo.Record) {
			if end, ok := last[r.Partition]; ok && r.Offset == end {
				left--
			}
			if !r.Attrs.IsControl() {
				values = append(values, r.Value)
			}
		})
	}
	return values
}
