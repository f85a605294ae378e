package session

import (
	"fmt"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
)

// conflate subscribes with conflation.
func (c *conn) conflate(id uint64, filters ...string) {
	c.world.t.Helper()
	c.handle(&wire.Packet{Op: wire.Sub, ID: id, Filters: filters, Conflate: true})
}

// Each case is what is published on topics while the socket has no room, and what the device
// sees of it. It subscribes to s/# with conflation.
func TestConflation(t *testing.T) {
	type publication struct {
		name string
		qos  message.QoS
	}
	for name, c := range map[string]struct {
		also      string // a filter without conflation and with QoS 1
		published []publication
		sees      []string
		conflated uint64
	}{
		"of one topic":  {"", []publication{{"s/a", 0}, {"s/a", 0}, {"s/a", 0}}, []string{"s/a=2 qos 0"}, 2},
		"at its place":  {"", []publication{{"s/x", 0}, {"s/a", 0}, {"s/b", 0}, {"s/a", 0}}, []string{"s/x=0 qos 0", "s/a=3 qos 0", "s/b=2 qos 0"}, 1},
		"of the lone":   {"", []publication{{"s/a", 0}, {"s/b", 0}, {"s/a", 0}}, []string{"s/b=1 qos 0", "s/a=2 qos 0"}, 1},
		"not elsewhere": {"t", []publication{{"t", 0}, {"t", 0}, {"s/a", 0}}, []string{"t=0 qos 0", "t=1 qos 0", "s/a=2 qos 0"}, 0},
		"not when another subscription wants all": {
			"s/a", []publication{{"s/a", 0}, {"s/a", 0}, {"s/b", 0}, {"s/b", 0}},
			[]string{"s/a=0 qos 0", "s/a=1 qos 0", "s/b=3 qos 0"}, 1,
		},
		"not QoS 1, nor past it": {
			"s/+", []publication{{"s/a", 0}, {"s/a", 1}, {"s/a", 0}},
			[]string{"s/a=0 qos 0", "s/a=1 qos 1", "s/a=2 qos 0"}, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{})
			d := w.connect("d", Options{})
			d.conflate(1, "s/#")
			if c.also != "" {
				d.sub(2, 1, c.also)
			}
			for d.step() {
			}
			d.log, d.room = nil, 0
			for i, p := range c.published {
				w.publish(p.name, fmt.Sprint(i), p.qos)
			}
			d.saw()
			d.room = -1
			d.link.Flush(true)
			d.saw(c.sees...)
			expect(t, "conflated", w.drops()["conflated"], c.conflated)
		})
	}
}

// However much is published, a device that conflates is owed one message of each topic.
func TestConflationIsBounded(t *testing.T) {
	const topics, rounds = 10, 200
	w := newWorld(t, Config{}, store.Limits{Count: topics})
	c := w.connect("d", Options{})
	c.conflate(1, "#")
	c.saw("hello resumed=false missed=0", "ack 1")
	c.room = 0
	for round := range rounds {
		for n := range topics {
			w.publish(fmt.Sprint("s/", n), fmt.Sprint(round), 0)
		}
	}
	expect(t, "queued", w.info("d").Queued, topics)
	expect(t, "conflated", w.drops()["conflated"], (rounds-1)*topics)
	expect(t, "full", w.drops()["queue_full"], 0)
}

// A message that there is no room for does not take the older one of its topic with it.
func TestConflationKeepsWhatItCannotReplace(t *testing.T) {
	for name, prevent := range map[string]func(w *world){
		"full": func(*world) {},
		"shed": func(w *world) { w.manager.Shed(true) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{}, store.Limits{Count: 1})
			c := w.connect("d", Options{})
			c.conflate(1, "s/#")
			c.sub(2, 1, "t")
			c.saw("hello resumed=false missed=0", "ack 1", "ack 2")
			c.room = 0
			w.publish("s/a", "0", 0)
			w.publish("t", "1", 1)
			prevent(w)
			w.publish("s/a", "2", 0)
			c.room = -1
			c.saw("s/a=0 qos 0", "t=1 qos 1")
			expect(t, "drops", len(w.drops()), 1)
			expect(t, "conflated", w.drops()["conflated"], 0)
		})
	}
}
