package session

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
	"github.com/longline/longline/internal/topic"
)

func TestSubscribe(t *testing.T) {
	w := newWorld(t, Config{})
	c := w.connect("d", Options{})
	c.sub(1, 0, "a/+", "b")
	c.sub(2, 1, "a/#")
	c.saw("hello resumed=false missed=0", "ack 1", "ack 2")
	w.publish("a/x", "1", 1) // once, with the higher QoS
	w.publish("b", "2", 1)
	c.saw("a/x=1 qos 1", "b=2 qos 0")
	c.unsub(3, "a/#", "none")
	c.sub(4, 1, "b")
	w.publish("a/x", "3", 1)
	w.publish("b", "4", 1)
	c.saw("ack 3", "ack 4", "a/x=3 qos 0", "b=4 qos 1")
	want := []topic.Subscription{{Filter: "a/+", QoS: 0}, {Filter: "b", QoS: 1}}
	if got := w.info("d").Subscriptions; !slices.Equal(got, want) {
		t.Errorf("subscriptions %v, want %v", got, want)
	}
}

func TestSubscribeAllOrNone(t *testing.T) {
	w := newWorld(t, Config{MaxSubscriptions: 2, MaxFilters: 3})
	c := w.connect("d", Options{})
	c.sub(1, 1, "a")
	c.sub(2, 1, "b", "c")
	c.sub(3, 1, "a", "b", "b")
	c.sub(4, 1, "c", "x/#/y")
	c.sub(5, 1, "a", "a", "a", "a")
	c.saw("hello resumed=false missed=0", "ack 1", "ack 2 too_many_subscriptions", "ack 3",
		"ack 4 invalid_filter", "ack 5 too_many_filters")
	expect(t, "subscriptions", len(w.info("d").Subscriptions), 2)
	expect(t, "routes", w.router.Stats().Subscriptions, 2)
	if err := c.link.Subscribe("c", 1); err == nil {
		t.Error("a third subscription")
	}
}

func TestRetainedOnSubscribe(t *testing.T) {
	w := newWorld(t, Config{})
	w.retain("a/1", "one")
	w.retain("a/2", "two")
	c := w.connect("d", Options{})
	c.sub(1, 1, "a/1", "+/1", "none")
	c.saw("hello resumed=false missed=0", "ack 1", "a/1=one qos 1")
	expect(t, "retain", c.last.Retain, true)
	c.sub(2, 0, "a/2")
	c.saw("ack 2", "a/2=two qos 0")
	c.sub(3, 1, "a/2") // again, again
	c.saw("ack 3", "a/2=two qos 1")
	w.retain("a/1", "news")
	c.saw("a/1=news qos 1")
	expect(t, "retain", c.last.Retain, false)
}

// What the queue has no room for comes when it has, unless it is not retained any more.
func TestRetainedBeyondTheQueue(t *testing.T) {
	for _, q := range []message.QoS{0, 1} {
		t.Run(fmt.Sprint("qos ", q), func(t *testing.T) {
			const all, room = 50, 3
			w := newWorld(t, Config{}, store.Limits{Count: room})
			for i := range all {
				w.retain(fmt.Sprint("a/", i), "x")
			}
			c := w.connect("d", Options{})
			c.room = 0
			c.sub(1, q, "a/#")
			c.sub(2, q, "b/#")
			gone := make(map[string]bool)
			for i := range all / 2 {
				m := &message.Message{Topic: fmt.Sprint("a/", i), Retain: true}
				gone[m.Topic] = true
				if err := w.store.Retain(m, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			c.room = -1
			c.link.Flush(true)
			for c.step() || len(c.owed) > 0 {
				for len(c.owed) > 0 {
					c.ack(0)
				}
			}
			seen := make(map[string]int)
			for _, line := range c.log {
				seen[line]++
			}
			early := 0 // what was queued before it was removed
			for i := range all {
				switch n := seen[fmt.Sprintf("a/%d=x qos %d", i, q)]; {
				case gone[fmt.Sprint("a/", i)]:
					early += n
				case n != 1:
					t.Errorf("a/%d came %d times", i, n)
				}
			}
			if early > room+1 {
				t.Errorf("%d came that were removed", early)
			}
			if c.link.Searches() {
				t.Error("it searches still")
			}
		})
	}
}

// What was found is forgotten with the subscription, and with the session.
func TestRetainedIsForgotten(t *testing.T) {
	for name, end := range map[string]func(*conn){
		"unsubscribed": func(c *conn) { c.unsub(3, "a/#") },
		"subscribed again to less": func(c *conn) {
			c.unsub(3, "a/#")
			c.sub(4, 1, "a/1")
		},
		"ended": func(c *conn) { c.world.client("d", Options{Clean: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{}, store.Limits{Count: 1})
			for i := range 10 {
				w.retain(fmt.Sprint("a/", i), "x")
			}
			c := w.connect("d", Options{})
			c.room = 0
			c.sub(1, 1, "a/#")
			if !c.link.Searches() {
				t.Fatal("nothing is searched")
			}
			end(c)
			c.room = -1
			if n := w.manager.searches.sessions.Load(); n != 0 && name != "subscribed again to less" || n > 1 {
				t.Errorf("%d sessions search still", n)
			}
		})
	}
}

// between is a store that runs a hook while it lists what is retained.
type between struct {
	storetest.Whole
	hook func()
}

// What is published while a subscription takes what is retained comes after it.
func TestNewsComeAfterTheRetained(t *testing.T) {
	s := &between{Whole: store.NewMemory(store.Options{})}
	w := newWorldOn(t, Config{}, s)
	w.retain("a", "old")
	c := w.connect("d", Options{})
	published := make(chan struct{})
	s.hook = func() {
		started := make(chan struct{})
		go func() {
			close(started)
			w.retain("a", "new")
			close(published)
		}()
		<-started
	}
	c.sub(1, 1, "a")
	<-published
	c.saw("hello resumed=false missed=0", "ack 1", "a=old qos 1", "a=new qos 1")
}

func (s *between) Retained(w *store.Walk, found []store.Kept, looks int, now time.Time) ([]store.Kept, int) {
	found, looked := s.Whole.Retained(w, found, looks, now)
	s.hook()
	return found, looked
}
