package mqtt

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// tooDeep is well-formed and has more levels than the gateway takes.
var tooDeep = strings.Repeat("b/", 16) + "b"

// TestSuback has a code for each filter, in their order; one that is refused harms no other.
func TestSuback(t *testing.T) { // [MQTT-3.8.4-1] [MQTT-3.8.4-5] to [MQTT-3.8.4-7] [MQTT-3.9.3-1] [3.1.1 MQTT-3.8.4-4] [3.1.1 MQTT-3.9.3-1]
	each(t, func(w *world) {
		c := w.connect("a")
		got := c.subscribeTo(
			mqtt.Subscription{Filter: "a", QoS: 2}, mqtt.Subscription{Filter: tooDeep, QoS: 1},
			mqtt.Subscription{Filter: "c", QoS: 0}, mqtt.Subscription{Filter: "d/+", QoS: 1})
		refused := mqtt.TopicFilterInvalid
		if w.version != mqtt.V5 {
			refused = mqtt.UnspecifiedError // [3.1.1 MQTT-3.9.3-2]
		}
		if want := []mqtt.Code{2, refused, 0, 1}; !slices.Equal(got, want) {
			t.Errorf("SUBACK says %v, want %v", got, want)
		}
		b := w.connect("b")
		for _, topic := range []string{"a", "c", "d/x"} {
			b.publish(topic, topic, 0)
		}
		c.receives("a", "c", "d/x")
	})
}

func TestBadFilters(t *testing.T) { // [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.8.2-1] [MQTT-4.8.2-2] [MQTT-4.13.1-1] [3.1.1 MQTT-4.8.0-1]
	each(t, func(w *world) {
		for _, filter := range []string{
			"sport/tennis#", "sport/tennis/#/ranking", "#/x", "sport+", "sport/+tennis", "++", "",
			"$share/group", "$share/group/", "$share//t", "$share/gr+oup/t", "$share/gr#oup/t",
		} {
			for _, p := range []*mqtt.Packet{
				{Type: mqtt.Subscribe, ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "fine"}, {Filter: filter}}},
				{Type: mqtt.Unsubscribe, ID: 1, Filters: []string{"fine", filter}},
			} {
				c := w.connect("a")
				c.send(p)
				c.closed(mqtt.ProtocolError)
			}
		}
		c := w.connect("a")
		for _, filter := range []string{"#", "+", "/", "+/tennis/#", "/#", "/+", "a b", "$share/g/#", "$SYS/#"} {
			if got := c.subscribe(filter, 0); got != 0 {
				t.Errorf("%s: %v", filter, got)
			}
		}
	})
}

func TestSubscribeAgain(t *testing.T) { // [MQTT-3.8.4-3] [3.1.1 MQTT-3.8.4-3]
	each(t, func(w *world) {
		c, b := w.connect("a"), w.connect("b")
		for _, q := range []message.QoS{0, 2, 1} {
			c.subscribe("t", q)
			b.publish("t", "x", 2)
			if p := c.receive(); p.QoS != q {
				t.Errorf("QoS %d, want %d", p.QoS, q)
			}
			c.quiet() // one copy
		}
	})
}

func TestUnsubscribe(t *testing.T) { // [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-4] to [MQTT-3.10.4-6] [MQTT-3.11.3-1] [3.1.1 MQTT-3.10.4-1] and after
	each(t, func(w *world) {
		c, b := w.connect("a"), w.connect("b")
		for _, filter := range []string{"t/+", "t/x", "keep", "T/x"} {
			c.subscribe(filter, 1)
		}
		got := c.unsubscribe("t/x", "never", "t/+", "t/#", "t/x")
		if want := []mqtt.Code{0, 0x11, 0, 0x11, 0x11}; w.version == mqtt.V5 && !slices.Equal(got, want) {
			t.Errorf("UNSUBACK says %v, want %v", got, want)
		}
		b.publish("t/x", "stopped", 1)
		b.publish("keep", "goes on", 1)
		c.receives("goes on")
	})
}

// TestUnsubscribeCompletes: an exchange that had begun before is completed.
func TestUnsubscribeCompletes(t *testing.T) { // [MQTT-3.10.4-3] [3.1.1 MQTT-3.10.4-3]
	each(t, func(w *world) {
		c, _ := w.resume("a")
		c.subscribe("t", 2)
		b := w.connect("b")
		b.publish("t", "one", 2)
		b.publish("t", "two", 1)
		one, two := c.expect(mqtt.Publish), c.expect(mqtt.Publish)
		c.unsubscribe("t")
		c.send(&mqtt.Packet{Type: mqtt.Pubrec, ID: one.ID})
		c.answer(mqtt.Pubrel, one.ID)
		c.cut()
		c, _ = w.resume("a")
		got := map[mqtt.Type]uint16{}
		for range 2 {
			p := c.take()
			got[p.Type] = p.ID
		}
		if got[mqtt.Publish] != two.ID || got[mqtt.Pubrel] != one.ID {
			t.Errorf("%v came again, want PUBLISH %d and PUBREL %d", got, two.ID, one.ID)
		}
		c.send(&mqtt.Packet{Type: mqtt.Pubcomp, ID: one.ID}, &mqtt.Packet{Type: mqtt.Puback, ID: two.ID})
		c.quiet()
	})
}

func TestNoLocal(t *testing.T) { // [MQTT-3.8.3-3]
	only(t, mqtt.V5, func(w *world) {
		c, b := w.connect("a"), w.connect("b")
		c.subscribeTo(mqtt.Subscription{Filter: "t/#", QoS: 1, NoLocal: true})
		c.publish("t/x", "my own", 1)
		b.publish("t/x", "another's", 1)
		c.receives("another's")
	})
}

func TestSubscriptionIdentifiers(t *testing.T) { // [MQTT-3.3.4-3] [MQTT-3.3.4-4]
	only(t, mqtt.V5, func(w *world) {
		c, b := w.connect("a"), w.connect("b")
		subscribe := func(filter string, id uint32) {
			p := &mqtt.Packet{Type: mqtt.Subscribe, ID: c.next(), Subscriptions: []mqtt.Subscription{{Filter: filter, QoS: 2}}}
			if id > 0 {
				p.Properties.SubscriptionIDs = []uint32{id}
			}
			c.send(p)
			c.answer(mqtt.Suback, p.ID)
		}
		ids := func(q message.QoS) []uint32 {
			b.publish("t/x", "x", q)
			got := c.receive().Properties.SubscriptionIDs
			slices.Sort(got)
			c.quiet()
			return got
		}
		subscribe("t/+", 1)
		subscribe("t/#", 268_435_455)
		subscribe("t/x", 0)
		subscribe("other", 7)
		for q := range message.QoS(3) {
			if got := ids(q); !slices.Equal(got, []uint32{1, 268_435_455}) {
				t.Errorf("QoS %d: %v", q, got)
			}
		}
		subscribe("t/+", 2) // in place of 1
		subscribe("t/#", 0) // in place of the largest
		if got := ids(1); !slices.Equal(got, []uint32{2}) {
			t.Errorf("%v, want 2", got)
		}
	})
}

// TestShared: one member of each group gets each message, and so does every plain
// subscriber.
func TestShared(t *testing.T) { // [MQTT-4.8.2-1] MQTT 5 §4.8.2
	each(t, func(w *world) {
		one, two, other, alone := w.connect("one"), w.connect("two"), w.connect("other"), w.connect("alone")
		one.subscribe("$share/g/t/+", 1)
		two.subscribe("$share/g/t/+", 1)
		other.subscribe("$share/h/t/#", 1)
		alone.subscribe("t/x", 1)
		b := w.connect("b")
		const n = 40
		for i := range n {
			b.publish("t/x", fmt.Sprint(i), 1)
			other.receives(fmt.Sprint(i))
			alone.receives(fmt.Sprint(i))
		}
		got := one.count() + two.count()
		if got != n {
			t.Errorf("%d messages came to the group, want %d", got, n)
		}
	})
}

// count receives the messages that have arrived and returns their number; 0 fails the test.
func (c *client) count() (n int) {
	c.Helper()
	for range 2 {
		c.send(&mqtt.Packet{Type: mqtt.Pingreq})
		for p := c.take(); p.Type != mqtt.Pingresp; p = c.take() {
			c.send(&mqtt.Packet{Type: mqtt.Puback, ID: p.ID})
			n++
		}
	}
	if n == 0 {
		c.Fatal("a member of the group got nothing")
	}
	return n
}

func TestSharedHasItsQoS(t *testing.T) { // [MQTT-4.8.2-3]
	each(t, func(w *world) {
		c, b := w.connect("a"), w.connect("b")
		for q := range message.QoS(3) {
			c.subscribe("$share/g/t", q)
			b.publish("t", "x", 2)
			if got := c.receive().QoS; got != q {
				t.Errorf("QoS %d, want %d", got, q)
			}
		}
	})
}

func TestSharedIsSentNothingRetained(t *testing.T) { // MQTT 5 §4.8.2
	each(t, func(w *world) {
		w.connect("b").retain("t", "x", 1)
		c := w.connect("a")
		c.subscribe("$share/g/t", 1)
		c.quiet()
	})
}

func TestSharedUnsubscribe(t *testing.T) { // MQTT 5 §4.8.2
	each(t, func(w *world) {
		c, b := w.connect("a"), w.connect("b")
		c.subscribe("$share/g/t", 1)
		b.publish("t", "before", 1)
		c.receives("before")
		c.unsubscribe("$share/g/t")
		b.publish("t", "after", 1)
		c.quiet()
	})
}

// TestSharedRefused: no other member gets a message that a member has refused.
func TestSharedRefused(t *testing.T) { // [MQTT-4.8.2-6]
	only(t, mqtt.V5, func(w *world) {
		c, b := w.connect("a"), w.connect("b")
		c.subscribe("$share/g/t", 2)
		for q, answer := range map[message.QoS]mqtt.Type{1: mqtt.Puback, 2: mqtt.Pubrec} {
			b.publish("t", "x", q)
			p := c.expect(mqtt.Publish)
			c.send(&mqtt.Packet{Type: answer, ID: p.ID, Reason: mqtt.UnspecifiedError})
		}
		d := w.connect("d")
		d.subscribe("$share/g/t", 2)
		c.quiet()
		c.disconnect()
		d.quiet()
	})
}

// TestSharedGoesOn: when a member leaves, another gets its unacknowledged messages, except those of QoS 2.
func TestSharedGoesOn(t *testing.T) { // [MQTT-4.8.2-4] [MQTT-4.8.2-5]
	each(t, func(w *world) {
		for q, want := range map[message.QoS][]string{1: {"x"}, 2: nil} {
			leaver := w.connect("leaver")
			leaver.subscribe("$share/g/t", q)
			w.connect("b").publish("t", "x", q)
			leaver.expect(mqtt.Publish)
			stayer := w.connect("stayer")
			stayer.subscribe("$share/g/t", q)
			leaver.disconnect()
			stayer.receives(want...)
			stayer.disconnect()
		}
	})
}

// TestSharedExactlyOnceIsCompleted by the member that it was sent to.
func TestSharedExactlyOnceIsCompleted(t *testing.T) { // [MQTT-4.8.2-4]
	each(t, func(w *world) {
		c, _ := w.resume("a")
		c.subscribe("$share/g/t", 2)
		w.connect("b").publish("t", "x", 2)
		p := c.expect(mqtt.Publish)
		d := w.connect("d")
		d.subscribe("$share/g/t", 2)
		c.cut()
		c, _ = w.resume("a")
		if again := c.receive(); !again.Dup || again.ID != p.ID {
			t.Errorf("%+v came, want %d again", again, p.ID)
		}
		d.quiet()
	})
}
