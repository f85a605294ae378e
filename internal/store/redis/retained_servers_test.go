//go:build servers

package redis

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/test/servers"
)

// All nodes have what one has retained, also one that comes later. The last change in the log counts at all.
func TestRetainedAreThoseOfAllNodes(t *testing.T) {
	for _, w := range worlds() {
		t.Run(w.name, func(t *testing.T) {
			o, prefix := w.start(t), newPrefix()
			a, b := newKeeper(t, o, prefix, "a/1"), newKeeper(t, o, prefix, "b/1")
			large := strings.Repeat("large ", 1000)
			for topic, payload := range map[string]string{"small": "1", "gone": "2", "large": large, "replaced": large} {
				a.must(topic, payload)
				expectAll(topic, payload, a, b)
			}
			b.must("gone", "")
			b.must("replaced", "small now")
			c := newKeeper(t, o, prefix, "c/1")
			<-c.log.ready
			for topic, payload := range map[string]string{"small": "1", "gone": "", "large": large, "replaced": "small now"} {
				if got := c.get(topic); got != payload {
					t.Errorf("a node that comes later has %.20q for %s", got, topic)
				}
				expectAll(topic, payload, a, b)
			}
			var all sync.WaitGroup
			for _, k := range []*keeper{a, b, c} {
				all.Go(func() {
					for i := range 100 {
						if err := k.try(fmt.Sprint("t", i%7), fmt.Sprint(k.log.origin, i)); err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			agree(t, newKeeper(t, o, prefix, "d/1"), 7, a, b, c)
		})
	}
}

// agree waits until nodes have for the topics t0, t1, ... what one has that has just come.
func agree(t *testing.T, late *keeper, topics int, all ...*keeper) {
	t.Helper()
	<-late.log.ready
	for i := range topics {
		topic := fmt.Sprint("t", i)
		expectAll(topic, late.get(topic), all...)
	}
}

// What one node removes is gone at all, whether or not it had seen it. What was replaced since is not removed.
func TestRetainedRemovals(t *testing.T) {
	o, prefix := at(servers.Redis(t).Address()), newPrefix()
	a, b := newKeeper(t, o, prefix, "a/1"), newKeeper(t, o, prefix, "b/1")
	for i := range 50 {
		topic := fmt.Sprint("t", i)
		a.must(topic, "1")
		b.must(topic, "")
		expectAll(topic, "", a, b)
	}
	a.must("k", "1")
	expectAll("k", "1", b)
	found, _ := b.Retained(&store.Walk{Filter: "k"}, make([]store.Kept, 0, 1), 10, time.Now())
	a.must("k", "2")
	b.Unretain(found[0]) // b may or may not have read of the second
	b.must("other", "1")
	expectAll("k", "2", a, b)
}

// A node that the log has left behind reads everything again, and what was removed meanwhile is gone.
func TestRetainedFarBehind(t *testing.T) {
	o, prefix := at(servers.Redis(t).Address()), newPrefix()
	a, b := newKeeper(t, o, prefix, "a/1"), newKeeper(t, o, prefix, "b/1")
	for _, topic := range []string{"stays", "goes"} {
		a.must(topic, "1")
		expectAll(topic, "1", b)
	}
	b.pause()
	a.must("goes", "")
	last := ""
	for round := range 3 * logEntries / 100 {
		last = fmt.Sprint("round ", round)
		for i := range 100 {
			a.retain(fmt.Sprint("x", i), last)
		}
		a.must("y", last)
	}
	if n, err := a.link.client.Do(t.Context(), a.link.client.B().Xlen().Key(a.log.keys[logKey]).Build()).AsInt64(); err != nil || n > logEntries+writeAtOnce {
		t.Errorf("the log has %d entries, %v", n, err)
	}
	if n, err := a.link.client.Do(t.Context(), a.link.client.B().Hlen().Key(a.log.keys[allKey]).Build()).AsInt64(); err != nil || n != 102 {
		t.Errorf("the hash has %d topics of 102, %v", n, err)
	}
	b.proceed()
	for topic, payload := range map[string]string{"y": last, "x7": last, "goes": "", "stays": "1"} {
		expectAll(topic, payload, b)
	}
}

// A message leaves Redis when it has expired, by Redis' clock.
func TestRetainedExpire(t *testing.T) {
	o, prefix := at(servers.Redis(t).Address()), newPrefix()
	a := newKeeper(t, o, prefix, "a/1")
	<-a.log.ready
	now := time.Now()
	m := (&message.Message{Topic: "t", Payload: []byte(strings.Repeat("x", 5000)), Expiry: now.Add(100 * time.Millisecond).UnixMilli()}).Clone()
	if err := a.Retain(m, now); err != nil {
		t.Fatal(err)
	}
	servers.Until(t, "it does not expire", func() bool {
		a.must("other", "1")
		c := a.link.client
		some, err := c.Do(t.Context(), c.B().Exists().Key(a.log.keys[largeKey], a.log.keys[dueKey]).Build()).AsInt64()
		n, failed := c.Do(t.Context(), c.B().Hlen().Key(a.log.keys[allKey]).Build()).AsInt64()
		return err == nil && failed == nil && some == 0 && n == 1
	})
}
