package session

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
	"github.com/longline/longline/internal/wire"
)

// take gives the gateway a call of the device as a publication, and returns what Take says of it.
func (c *client) take(id uint16, q message.QoS, again bool, sum uint64) string {
	c.world.t.Helper()
	fresh, earlier, err := c.link.Take(Taken{ID: id, QoS: q, Again: again, Sum: sum, Call: true})
	switch {
	case err != nil:
		return err.Error()
	case fresh:
		return "fresh"
	case earlier:
		return "earlier"
	}
	return "known"
}

func (c *client) takes(id uint16, q message.QoS, again bool, sum uint64, want string) {
	c.world.t.Helper()
	expect(c.world.t, fmt.Sprintf("call %d, qos %d, again %t, sum %d", id, q, again, sum), c.take(id, q, again, sum), want)
}

func TestTakenCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Unanswered: 2})
		defer w.close()
		c := w.client("d", Options{})
		c.takes(0, 0, false, 0, "fresh")
		c.takes(1, 1, false, 11, "fresh")
		c.takes(1, 1, true, 11, "known")
		c.takes(1, 1, true, 12, "fresh") // another call, which was sent first on a connection that broke
		c.takes(1, 1, false, 12, "fresh")
		c.takes(2, 2, false, 0, "fresh")
		c.takes(2, 2, false, 0, "known")
		c.saw(fresh, "ack 1", "ack 1", "ack 1", "ack 1", "rec 2", "rec 2")
		older := c
		time.Sleep(time.Millisecond)
		c = w.client("d", Options{})
		older.takes(3, 1, false, 1, "known") // it is too late for anything
		older.saw("close " + wire.CloseTakenOver.Label)
		c.takes(1, 1, true, 12, "earlier")
		c.takes(2, 2, true, 0, "earlier")
		c.released(2, true)
		c.takes(2, 2, false, 0, "fresh")
		c.takes(3, 2, false, 0, "fresh")
		c.takes(4, 2, false, 0, wire.CloseReceiveMax.Error())
		c.saw(resumed, "ack 1", "rec 2", "rec 2", "rec 3")
		for id := range uint16(keptTaken) {
			c.takes(100+id, 1, false, 5, "fresh")
		}
		c.takes(1, 1, true, 12, "fresh") // it was forgotten
		c.leave("reset")
		w.client("d", Options{Clean: true})
		expect(t, "remembered", len(w.manager.taken.by), 0)
	})
}

// The calls of only so many sessions are remembered.
func TestTakenCallsAreBounded(t *testing.T) {
	var taken takenCalls
	for range takenSessions + 10 {
		s := new(Session)
		taken.add(s, 1, 1)
		if _, ok := taken.find(s, 1, 1); !ok {
			t.Fatal("the last call is forgotten")
		}
	}
	expect(t, "sessions", len(taken.by), takenSessions)
}

// PUBREC of a call waits until its identifier is safe, and the answers behind it wait too.
func TestTakenCallIsSafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDurableWorld(t, Config{})
		c := w.client("d", Options{})
		c.settle()
		c.takes(7, 2, false, 0, "fresh")
		c.takes(8, 1, false, 0, "fresh")
		c.log = nil
		c.settle()
		c.saw("rec 7", "ack 8")
		w = w.restarted(Config{})
		defer w.close()
		c = w.client("d", Options{})
		c.takes(7, 2, true, 0, "earlier")
		c.settle()
		c.saw(resumed, "rec 7")
	})
}

func TestTakenCallWhileTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broke{OnJournal: storetest.NewOnJournal(store.Options{})}
		w := newWorldOn(t, Config{}, b)
		defer w.close()
		c := w.client("d", Options{})
		c.takes(7, 2, false, 0, "fresh")
		synctest.Wait()
		c.saw(fresh, "close "+wire.CloseInternal.Label)
		b.told = errBroken
		had := b.Len()
		c.takes(8, 2, false, 0, "known")
		expect(t, "operations", b.Len(), had)
		if c.link.Released(8) {
			t.Error("its identifier is taken")
		}
	})
}
