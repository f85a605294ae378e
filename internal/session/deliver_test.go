package session

import (
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

func TestWindowAndAcks(t *testing.T) {
	w := newWorld(t, Config{InFlight: 2})
	c := w.connect("d", Options{})
	c.sub(1, 1, "a")
	for i := range 5 {
		w.publish("a", fmt.Sprint(i), 1)
	}
	c.saw("hello resumed=false missed=0", "ack 1", "a=0 qos 1", "a=1 qos 1")

	c.ack(1) // out of order
	c.saw("a=2 qos 1")
	expect(t, "in flight", w.info("d").InFlight, 2)
	expect(t, "queued", w.info("d").Queued, 4)
	c.ack(0)
	c.ack(0)
	c.saw("a=3 qos 1", "a=4 qos 1")
	c.handle(ackOf(12345)) // never sent
	c.saw()
	c.ack(0)
	c.ack(0)
	expect(t, "queued", w.info("d").Queued, 0)
	w.holdsNoQueue(c)
	expect(t, "messages down", w.info("d").Traffic.DownlinkMessages, 5)
}

func TestRedeliveryOnResume(t *testing.T) {
	w := newWorld(t, Config{InFlight: 3})
	c := w.connect("d", Options{})
	c.sub(1, 1, "a")
	for i := range 5 {
		w.publish("a", fmt.Sprint(i), 1)
	}
	c.saw("hello resumed=false missed=0", "ack 1", "a=0 qos 1", "a=1 qos 1", "a=2 qos 1")
	c.ack(1)
	c.saw("a=3 qos 1")
	c.leave("reset")

	c = w.connect("d", Options{})
	c.saw("hello resumed=true missed=0", "a=0 qos 1", "a=2 qos 1", "a=3 qos 1")
	for range 4 {
		c.ack(0)
		c.step()
	}
	c.saw("a=4 qos 1")
	c.leave("reset")
	w.connect("d", Options{}).saw("hello resumed=true missed=0") // acknowledged: never again
}

func TestQoS0KeepsItsPlace(t *testing.T) {
	w := newWorld(t, Config{InFlight: 1})
	c := w.connect("d", Options{})
	c.sub(1, 1, "#")
	c.saw("hello resumed=false missed=0", "ack 1")
	w.publish("a", "0", 0) // alone
	w.publish("a", "1", 1)
	w.publish("a", "2", 0)
	w.publish("a", "3", 1)
	c.saw("a=0 qos 0", "a=1 qos 1")
	c.ack(0)
	c.saw("a=2 qos 0", "a=3 qos 1")
}

func TestQoS0IsOfTheConnection(t *testing.T) {
	for _, takeover := range []bool{false, true} {
		w := newWorld(t, Config{})
		c := w.connect("d", Options{})
		c.sub(1, 1, "#")
		w.publish("a", "1", 1)
		c.saw("hello resumed=false missed=0", "ack 1", "a=1 qos 1")
		c.room = 0
		w.publish("a", "2", 0) // it would overtake 1, which is sent again
		w.publish("a", "3", 1)
		w.publish("a", "4", 0)
		c.saw()
		if !takeover {
			c.leave("reset")
			w.publish("a", "5", 0)
		}
		n := w.connect("d", Options{})
		n.saw("hello resumed=true missed=0", "a=1 qos 1", "a=3 qos 1")
		want := uint64(3)
		if takeover {
			want = 2
		}
		expect(t, "offline drops", w.drops()["offline"], want)
	}
}

func TestSocketWithoutRoom(t *testing.T) {
	w := newWorld(t, Config{}, store.Limits{Count: 2})
	c := w.connect("d", Options{})
	c.sub(1, 0, "#")
	c.room = 0
	for i := range 4 {
		w.publish("a", fmt.Sprint(i), 0)
	}
	c.saw("hello resumed=false missed=0", "ack 1")
	expect(t, "full", w.drops()["queue_full"], 1)
	expect(t, "queued", w.info("d").Queued, 3)
	c.room = 2
	c.link.Flush(true)              // as when the socket has drained
	c.saw("a=0 qos 0", "a=2 qos 0") // 1 was the oldest in the queue
	c.room = -1
	c.link.Flush(true)
	c.saw("a=3 qos 0")
}

// QoS 1 is never dropped for QoS 0: it takes its place, and then its publisher waits.
func TestQoS0GivesWay(t *testing.T) {
	w := newWorld(t, Config{}, store.Limits{Count: 3})
	c := w.connect("d", Options{})
	c.sub(1, 1, "#")
	c.saw("hello resumed=false missed=0", "ack 1")
	c.room = 0
	for i, q := range []message.QoS{0, 0, 1, 0, 1, 1} { // the first is in no queue
		expect(t, "publisher", w.publish("a", fmt.Sprint(i), q).String(), "taken")
	}
	last := w.publish("a", "6", 1)
	expect(t, "publisher", last.String(), "waits")
	w.publish("a", "7", 0) // must not overtake
	expect(t, "full", w.drops()["queue_full"], 3)
	c.room = -1
	c.link.Flush(true)
	c.saw("a=0 qos 0", "a=2 qos 1", "a=4 qos 1", "a=5 qos 1")
	c.ack(0)
	c.saw("a=6 qos 1")
	expect(t, "publisher", last.String(), "taken")
}

func TestOfflineQueueBounds(t *testing.T) {
	for name, limits := range map[string]store.Limits{
		"count": {Count: 3},
		"bytes": {Bytes: 6}, // a topic and a payload of one byte each
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{}, limits)
			c := w.connect("d", Options{})
			c.sub(1, 1, "a")
			c.leave("reset")
			for i := range 5 {
				expect(t, "publisher", w.publish("a", fmt.Sprint(i), 1).String(), "taken")
			}
			w.publish("a", "x", 0)
			expect(t, "overflow", w.drops()["queue_overflow"], 2)
			expect(t, "offline", w.drops()["offline"], 1)
			w.connect("d", Options{}).saw("hello resumed=true missed=2", "a=2 qos 1", "a=3 qos 1", "a=4 qos 1")
			w.connect("d", Options{}).saw("hello resumed=true missed=0", "a=2 qos 1", "a=3 qos 1", "a=4 qos 1")
		})
	}
}

func TestTooLargeForTheQueue(t *testing.T) {
	w := newWorld(t, Config{}, store.Limits{Bytes: 10})
	c := w.connect("d", Options{})
	c.sub(1, 1, "a")
	c.pub(2, "a", "more than ten bytes", 1)
	c.saw("hello resumed=false missed=0", "ack 1", "ack 2 too_large")
	expect(t, "refused", w.drops()["refused"], 1)
	w.holdsNoQueue(c)
}

func TestMessagesExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{}, store.Limits{Age: time.Minute})
		c := w.connect("d", Options{})
		c.sub(1, 1, "a")
		c.room = 0
		c.handle(pubExpiring("a", "0", 0, time.Second))
		c.leave("reset")
		w.publish("a", "1", 1) // as old as the queue lets it become
		c = w.connect("p", Options{})
		c.handle(pubExpiring("a", "2", 1, 3*time.Minute))
		c.handle(pubExpiring("a", "3", 1, 30*time.Second))
		time.Sleep(50 * time.Second)
		c.handle(pubExpiring("a", "4", 1, time.Hour))
		time.Sleep(20 * time.Second)
		w.connect("d", Options{}).saw("hello resumed=true missed=0", "a=4 qos 1")
		if got, want := w.drops(), map[string]uint64{"expired": 3, "offline": 1}; !maps.Equal(got, want) {
			t.Errorf("drops %v, want %v", got, want)
		}
	})
}

func TestLoneQoS0Expires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		c := w.connect("d", Options{})
		c.sub(1, 1, "a")
		c.room = 0
		c.handle(pubExpiring("a", "0", 0, time.Second))
		time.Sleep(time.Second)
		c.room = -1
		c.saw("hello resumed=false missed=0", "ack 1")
		expect(t, "expired", w.drops()["expired"], 1)
	})
}

func TestRawProtocol(t *testing.T) {
	w := newWorld(t, Config{InFlight: 2})
	up := w.observe("device/+/up")
	c := &conn{world: w, room: -1, raw: true}
	c.attach("d", Options{})
	if err := c.link.Subscribe("device/d/down", 1); err != nil {
		t.Fatal(err)
	}
	c.pub(0, "", "frame", 0)
	up.saw(t, "device/d/up=frame qos 0")
	for i := range 4 {
		w.publish("device/d/down", fmt.Sprint(i), 1)
	}
	c.saw("hello resumed=false missed=0", "device/d/down=0 qos 1", "device/d/down=1 qos 1",
		"device/d/down=2 qos 1", "device/d/down=3 qos 1")
	expect(t, "queued", w.info("d").Queued, 0) // sent is all that can be known
}

// A raw device empties its queue in one flush: all that wait must come in by that flush,
// because no acknowledgement will cause another.
func TestAllThatWaitAreLetIn(t *testing.T) {
	w := newWorld(t, Config{}, store.Limits{Count: 1})
	c := &conn{world: w, raw: true}
	c.attach("d", Options{})
	if err := c.link.Subscribe("a", 1); err != nil {
		t.Fatal(err)
	}
	var outcomes []*outcome
	for i := range 4 {
		outcomes = append(outcomes, w.publish("a", fmt.Sprint(i), 1))
	}
	expect(t, "waiting", w.info("d").Waiting, 3)
	c.room = -1
	c.saw("hello resumed=false missed=0", "a=0 qos 1", "a=1 qos 1", "a=2 qos 1", "a=3 qos 1")
	for i, o := range outcomes {
		expect(t, fmt.Sprint("publisher ", i), o.String(), "taken")
	}
}

func TestDeliverAfterTheEnd(t *testing.T) {
	w := newWorld(t, Config{})
	zero := time.Duration(0)
	c := w.connect("d", Options{Expiry: &zero})
	s := c.link.session
	c.leave("reset")
	m := (&message.Message{Topic: "a", QoS: 1}).Clone()
	for q := range message.QoS(2) {
		if err := s.Deliver(m, q, nil); err != nil {
			t.Error(err)
		}
	}
	expect(t, "drops", w.drops()["session_ended"], 2)
}

// A busy session keeps its queue, an idle one gives it back.
func TestQueueIsLent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		c := w.connect("d", Options{})
		c.sub(1, 1, "a")
		for i := range 3 {
			w.publish("a", "x", 1)
			c.step()
			c.ack(0)
			time.Sleep(reclaimAfter / 4)
			if c.link.session.queue == nil {
				t.Fatalf("there is no queue after %d messages", i)
			}
		}
		w.publish("a", "y", 1)
		time.Sleep(reclaimAfter)
		c.step()
		c.ack(0)
		time.Sleep(reclaimAfter)
		synctest.Wait()
		if c.link.session.queue != nil {
			t.Error("the idle session has a queue")
		}
		time.Sleep(time.Hour)
		expect(t, "lingering", len(w.manager.emptyQueues.sessions), 0)
	})
}

// Room that an expired message leaves is for those that wait, before all that come later.
func TestNobodyOvertakesThoseThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{}, store.Limits{Count: 1})
		c := w.connect("d", Options{})
		c.sub(1, 1, "a")
		c.room = 0
		c.handle(pubExpiring("a", "0", 1, time.Second))
		first := w.publish("a", "1", 1)
		time.Sleep(time.Second)
		second := w.publish("a", "2", 1)
		expect(t, "first", first.String(), "waits")
		expect(t, "second", second.String(), "waits")
		c.room = -1
		c.saw("hello resumed=false missed=0", "ack 1", "ack 1", "a=1 qos 1")
		c.ack(0)
		c.saw("a=2 qos 1")
	})
}
