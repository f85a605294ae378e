package mqtt

import (
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// TestRetained: new subscribers get the last retained message of a topic, with RETAIN.
func TestRetained(t *testing.T) { // [MQTT-3.3.1-5] [3.1.1 MQTT-3.3.1-5] to [3.1.1 MQTT-3.3.1-8]
	each(t, func(w *world) {
		b := w.connect("b")
		for q := range message.QoS(3) {
			b.retain("t/x", "old", q)
			b.retain("t/x", "new", q)
			b.retain("t/y", "other", q)
			c := w.connect("a")
			c.subscribe("t/+", 2)
			got := map[string]string{}
			for range 2 {
				p := c.receive()
				if !p.Retain || p.Dup || p.QoS != q {
					t.Errorf("retain %v, DUP %v, QoS %d; want a retained message of QoS %d", p.Retain, p.Dup, p.QoS, q)
				}
				got[p.Topic] = string(p.Payload)
			}
			if got["t/x"] != "new" || got["t/y"] != "other" {
				t.Errorf("%v came", got)
			}
			c.quiet()
		}
	})
}

// TestRetainedToWhoIsThere: current subscribers get it as any other message.
func TestRetainedToWhoIsThere(t *testing.T) { // [MQTT-3.3.1-12] [3.1.1 MQTT-3.3.1-9]
	each(t, func(w *world) {
		c := w.connect("a")
		c.subscribe("t", 1)
		w.connect("b").retain("t", "x", 1)
		if p := c.receive(); p.Retain {
			t.Error("RETAIN is set")
		}
	})
}

func TestRetainedIsRemoved(t *testing.T) { // [MQTT-3.3.1-6] [MQTT-3.3.1-7] [3.1.1 MQTT-3.3.1-10] [3.1.1 MQTT-3.3.1-11]
	each(t, func(w *world) {
		b, live := w.connect("b"), w.connect("live")
		b.retain("t", "x", 1)
		live.subscribe("t", 0)
		live.receives("x")
		b.retain("t", "", 1)
		live.receives("") // it is also a message
		c := w.connect("a")
		c.subscribe("t", 1)
		c.quiet()
	})
}

func TestNotRetained(t *testing.T) { // [MQTT-3.3.1-8] [3.1.1 MQTT-3.3.1-12]
	each(t, func(w *world) {
		b, c := w.connect("b"), w.connect("a")
		b.publish("new", "x", 1)
		b.retain("t", "kept", 1)
		b.publish("t", "not kept", 1)
		b.publish("t", "", 1)
		c.subscribe("#", 1)
		c.receives("kept")
	})
}

// TestRetainedAgain: subscribing again sends the retained messages again.
func TestRetainedAgain(t *testing.T) { // [MQTT-3.8.4-4] [3.1.1 MQTT-3.8.4-3]
	each(t, func(w *world) {
		w.connect("b").retain("t", "x", 1)
		c := w.connect("a")
		for range 2 {
			c.subscribe("t", 1)
			c.receives("x")
		}
	})
}

func TestRetainedOfTheLesserQoS(t *testing.T) { // [MQTT-3.8.4-8] [3.1.1 MQTT-3.8.4-6]
	each(t, func(w *world) {
		w.connect("b").retain("t", "x", 2)
		for granted := range message.QoS(3) {
			c := w.connect("a")
			c.subscribe("t", granted)
			if p := c.receive(); p.QoS != granted {
				t.Errorf("QoS %d, want %d", p.QoS, granted)
			}
		}
	})
}

func TestRetainHandling(t *testing.T) { // [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
	only(t, mqtt.V5, func(w *world) {
		w.connect("b").retain("t", "x", 1)
		for handling, want := range [][2]bool{{true, true}, {true, false}, {false, false}} {
			c := w.connect("a")
			for i := range 2 {
				c.subscribeTo(mqtt.Subscription{Filter: "t", QoS: 1, RetainHandling: uint8(handling)})
				if want[i] {
					c.receives("x")
				} else {
					c.quiet()
				}
			}
		}
	})
}

func TestRetainAsPublished(t *testing.T) { // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
	only(t, mqtt.V5, func(w *world) {
		b, c := w.connect("b"), w.connect("a")
		for _, as := range []bool{false, true} {
			c.subscribeTo(mqtt.Subscription{Filter: "t", QoS: 1, RetainAsPublished: as, RetainHandling: 2})
			for _, retain := range []bool{false, true} {
				p := publication("t", "x", 1)
				p.Retain = retain
				b.publishPacket(p)
				if got := c.receive().Retain; got != (as && retain) {
					t.Errorf("retain as published %v, published with %v, came with %v", as, retain, got)
				}
			}
		}
	})
}

func TestRetainedHasSubscriptionID(t *testing.T) { // [MQTT-3.3.4-3]
	only(t, mqtt.V5, func(w *world) {
		w.connect("b").retain("t", "x", 1)
		c := w.connect("a")
		c.send(&mqtt.Packet{Type: mqtt.Subscribe, ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "t", QoS: 1}},
			Properties: mqtt.Properties{SubscriptionIDs: []uint32{42}}})
		c.answer(mqtt.Suback, 1)
		if ids := c.receive().Properties.SubscriptionIDs; len(ids) != 1 || ids[0] != 42 {
			t.Errorf("subscription identifiers %v, want 42", ids)
		}
	})
}
