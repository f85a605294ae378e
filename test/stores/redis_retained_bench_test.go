//go:build servers || long

package stores

import (
	"fmt"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
	"github.com/longline/longline/test/servers"
)

// BenchmarkRetained has one node retain messages of 200 bytes for 10,000 topics, each of which the other node gets.
func BenchmarkRetained(b *testing.B) {
	client := clientOf(b, servers.Redis(b, "--appendfsync", "everysec").Address())
	here := newNode(b, client, store.Options{})
	there := openNode(b, client, here.options, here.prefix, "other/22", storetest.NewOnJournal(here.options))
	payload := make([]byte, 200)
	last := func(n *node, topic string) uint64 {
		found, _ := n.Retained(&store.Walk{Filter: topic}, make([]store.Kept, 0, 1), 10, now)
		if len(found) == 0 {
			return 0
		}
		return found[0].ID
	}
	var topic string
	var id uint64
	for i := range b.N {
		topic = fmt.Sprint("t", i%10_000)
		m := (&message.Message{Topic: topic, Payload: payload}).Clone()
		id = m.ID
		if err := here.Retain(m, now); err != nil {
			b.Fatal(err)
		}
		if i%1000 == 999 {
			if err := here.commit(); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := here.commit(); err != nil {
		b.Fatal(err)
	}
	for last(there, topic) != id {
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
