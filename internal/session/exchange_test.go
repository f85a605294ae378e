package session

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
)

func (c *client) received(id uint16, refused, found bool) {
	c.world.t.Helper()
	got, err := c.link.Received(id, refused)
	expect(c.world.t, fmt.Sprint("found ", id), got, found)
	expect(c.world.t, fmt.Sprint("PUBREC of ", id), err, nil)
}

func (c *client) acked(id uint16) {
	c.world.t.Helper()
	expect(c.world.t, fmt.Sprint("PUBACK of ", id), c.link.Acked(id), nil)
}

func (c *client) completed(id uint16) {
	c.world.t.Helper()
	expect(c.world.t, fmt.Sprint("PUBCOMP of ", id), c.link.Completed(id), nil)
}

func TestPacketIdentifiers(t *testing.T) {
	w := newWorld(t, Config{InFlight: 10})
	c := w.client("d", Options{ReceiveMaximum: 3})
	c.subscribe(filter("#", 2))
	for i, q := range []message.QoS{1, 2, 2, 0, 1} {
		w.publish("a", fmt.Sprint(i), q)
	}
	c.saw(fresh, "a=0 qos 1 id 1", "a=1 qos 2 id 2", "a=2 qos 2 id 3")

	c.received(2, false, true)
	c.saw() // its place is free when PUBCOMP comes, MQTT 5 §4.9
	_, received := c.link.Received(1, false)
	for _, err := range []error{c.link.Acked(2), received, c.link.Completed(1), c.link.Completed(3)} {
		expect(t, "an answer that is not due", errors.Is(err, wire.CloseContract), true)
	}
	c.received(9, false, false)
	c.acked(9)
	c.completed(9)
	c.saw() // nothing has moved
	c.received(2, false, true)
	c.completed(2)
	c.saw("a=3 qos 0", "a=4 qos 1 id 4")
	c.completed(2)
	c.saw()
	c.acked(1)
	c.acked(4)
	c.received(3, true, true) // refused: over
	c.received(3, false, false)
	expect(t, "queued", w.info("d").Queued, 0)
	w.holdsNoQueue(c.conn)
}

func TestResumeSendsAgain(t *testing.T) {
	w := newWorld(t, Config{InFlight: 10})
	c := w.client("d", Options{})
	c.subscribe(filter("a", 2))
	for i, q := range []message.QoS{2, 1, 2, 1} {
		w.publish("a", fmt.Sprint(i), q)
	}
	c.saw(fresh, "a=0 qos 2 id 1", "a=1 qos 1 id 2", "a=2 qos 2 id 3", "a=3 qos 1 id 4")
	c.received(1, false, true)
	c.acked(2)
	c.leave("reset")
	w.publish("a", "4", 1)

	c = w.client("d", Options{ReceiveMaximum: 2})
	c.saw(resumed, "pubrel 1", "a=2 qos 2 id 3 again")
	c.received(1, false, true) // sent again by the client: PUBREL again
	c.completed(1)
	c.saw("a=3 qos 1 id 4 again")
	c.acked(4)
	c.saw("a=4 qos 1 id 5")
	c.received(3, false, true)

	c = w.client("d", Options{}) // a takeover
	c.saw(resumed, "pubrel 3", "a=4 qos 1 id 5 again")
	c.acked(5)
	c.completed(3)
	c.leave("reset")
	if c.link.session.mqtt != nil {
		t.Error("nothing is under way, and kept")
	}
	w.client("d", Options{Clean: true}).saw(fresh)
}

// A QoS 2 message that was sent and then lost may have been received: its identifier must not
// name another one before the client was told to forget it.
func TestLostOnTheWay(t *testing.T) {
	for name, lose := range map[string]func(*world){
		"expired": func(*world) { time.Sleep(time.Minute) },
		"pushed out": func(w *world) {
			for i := range 3 {
				w.publish("b", fmt.Sprint(i), 1)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Config{}, store.Limits{Count: 3, Age: time.Minute})
				c := w.client("d", Options{})
				c.subscribe(filter("#", 2))
				w.publish("a", "1", 2)
				w.publish("a", "2", 1)
				c.saw(fresh, "a=1 qos 2 id 1", "a=2 qos 1 id 2")
				c.leave("reset")
				lose(w)

				c = w.client("d", Options{})
				for c.step() {
				}
				switch name {
				case "expired":
					c.saw(resumed, "pubrel 1")
				default:
					c.saw("hello resumed=true missed=2", "pubrel 1", "b=0 qos 1 id 3", "b=1 qos 1 id 4", "b=2 qos 1 id 5")
				}
				open := c.link.session.queue.Open() - 1
				c.completed(1)
				expect(t, "open", c.link.session.queue.Open(), open)
			})
		})
	}
}

func TestIdentifiersEndWithTheProtocol(t *testing.T) {
	w := newWorld(t, Config{})
	c := w.client("d", Options{})
	c.subscribe(filter("a", 2))
	w.publish("a", "1", 2)
	c.saw(fresh, "a=1 qos 2 id 1")
	d := w.connect("d", Options{}) // JSON, which has no QoS 2
	d.saw(resumed, "a=1 qos 1")
	if d.link.session.mqtt != nil {
		t.Error("a JSON session has identifiers")
	}
	w.client("d", Options{}).saw(resumed, "a=1 qos 2 id 1")
}

func TestRestartKeepsIdentifiers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDurableWorld(t, Config{InFlight: 3})
		c := w.client("d", Options{})
		c.subscribe(filter("a", 2))
		for i := range 3 {
			w.publish("a", fmt.Sprint(i), 2)
		}
		c.settle()
		c.saw(fresh, "a=0 qos 2 id 1", "a=1 qos 2 id 2", "a=2 qos 2 id 3")
		c.pub(7, "up", "x", 2)
		c.received(1, false, true)
		c.settle()
		c.saw("rec 7")
		c.leave("reset")

		w = w.restarted(Config{InFlight: 4})
		defer w.close()
		up := w.observe("up")
		c = w.client("d", Options{})
		w.publish("a", "3", 2)
		c.settle()
		c.saw(resumed, "pubrel 1", "a=1 qos 2 id 2 again", "a=2 qos 2 id 3 again", "a=3 qos 2 id 4")
		c.pub(7, "up", "x", 2)
		c.settle()
		c.saw("rec 7")
		up.saw(t)
	})
}

// What an MQTT client is sent and acknowledges costs no memory each.
func TestExchangeDoesNotAllocate(t *testing.T) {
	w := newWorld(t, Config{})
	c := &numbering{}
	if _, _, err := w.manager.attachNow("d", &c.link, c, Options{}); err != nil {
		t.Fatal(err)
	}
	m := (&message.Message{Topic: "a", QoS: 2}).Clone()
	for q := range message.QoS(3) {
		n := testing.AllocsPerRun(1000, func() {
			for range 4 { // which the smallest queue holds
				_ = c.link.session.Deliver(m, q, new(router.Publication))
			}
			c.link.Flush(true)
			for _, id := range c.ids {
				_ = c.link.Acked(id)
				_, _ = c.link.Received(id, false)
				_ = c.link.Completed(id)
			}
			c.ids = c.ids[:0]
		})
		if n > 0 {
			t.Errorf("QoS %d: %v allocations", q, n)
		}
	}
	expect(t, "queued", w.info("d").Queued, 0)
	w.manager.reclaim()
	if c.link.session.queue != nil {
		t.Error("an idle session holds a queue")
	}
}

// numbering remembers the identifiers of what it was sent.
type numbering struct {
	quietClient
	ids []uint16
}

func (c *numbering) SendPacket(_ *message.Message, _ message.QoS, id uint16, _ bool) bool {
	c.ids = append(c.ids, id)
	return true
}
