package mqtt

import (
	"fmt"
	"strings"
	"testing"

	"github.com/longline/longline/internal/gateway"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire/mqtt"
)

// TestReceiveMaximum of the client: no more messages are in flight than it allows.
func TestReceiveMaximum(t *testing.T) { // [MQTT-3.3.4-9] [MQTT-4.9.0-1] [MQTT-4.9.0-2]
	only(t, mqtt.V5, func(w *world) {
		c, _ := w.open("a", func(p *mqtt.Packet) { p.Properties.ReceiveMaximum = 2 })
		c.subscribe("t", 2)
		b := w.connect("b")
		for i := range 6 {
			b.publish("t", fmt.Sprint(i), message.QoS(1+i%2))
		}
		first, second := c.expect(mqtt.Publish), c.expect(mqtt.Publish)
		c.quiet()
		c.send(&mqtt.Packet{Type: mqtt.Pubrec, ID: second.ID}) // which does not complete the exchange
		c.answer(mqtt.Pubrel, second.ID)
		c.quiet()
		c.send(&mqtt.Packet{Type: mqtt.Puback, ID: first.ID})
		third := c.expect(mqtt.Publish)
		c.quiet()
		c.send(&mqtt.Packet{Type: mqtt.Pubcomp, ID: second.ID})
		fourth := c.expect(mqtt.Publish)
		c.quiet()
		c.send(&mqtt.Packet{Type: mqtt.Pubrec, ID: fourth.ID, Reason: mqtt.QuotaExceeded})
		c.send(&mqtt.Packet{Type: mqtt.Puback, ID: third.ID})
		c.receives("4", "5")
	})
}

// TestAtNoQuota: all packets except PUBLISH are still sent.
func TestAtNoQuota(t *testing.T) { // [MQTT-3.3.4-10] [MQTT-4.9.0-3]
	only(t, mqtt.V5, func(w *world) {
		c, _ := w.open("a", func(p *mqtt.Packet) { p.Properties.ReceiveMaximum = 1 })
		c.subscribe("t", 1)
		b := w.connect("b")
		b.publish("t", "one", 1)
		b.publish("t", "two", 1)
		p := c.expect(mqtt.Publish)
		c.quiet()
		c.subscribe("u", 1)
		c.unsubscribe("u")
		c.publish("v", "x", 2)
		c.send(&mqtt.Packet{Type: mqtt.Puback, ID: p.ID})
		c.receives("two")
	})
}

// TestReceiveMaximumOfTheGateway: the gateway does not accept more than CONNACK says.
func TestReceiveMaximumOfTheGateway(t *testing.T) { // MQTT 5 §3.3.4
	s := settings{sessions: session.Config{Unanswered: 4}}
	eachWith(t, s, func(w *world) {
		c, ack := w.open("a", nil)
		if ack.Properties.ReceiveMaximum != 4 {
			t.Fatalf("CONNACK says %d, want 4", ack.Properties.ReceiveMaximum)
		}
		for i := range uint16(5) {
			p := publication("t", "x", 2)
			p.ID = i + 1
			c.send(p)
		}
		for i := range uint16(4) {
			c.answer(mqtt.Pubrec, i+1)
		}
		c.closed(mqtt.ReceiveMaximumExceeded)
	}, mqtt.V5)
}

// TestMaximumPacketOfTheClient: a larger message counts as sent. A message that fits arrives, even if it would
// not fit with a topic alias.
func TestMaximumPacketOfTheClient(t *testing.T) { // [MQTT-3.1.2-24] [MQTT-3.1.2-25]
	only(t, mqtt.V5, func(w *world) {
		b := w.connect("b")
		for aliases := range uint16(2) {
			c, _ := w.open("a", func(p *mqtt.Packet) {
				p.Properties.MaximumPacket, p.Properties.ReceiveMaximum = 40, 1
				p.Properties.TopicAliasMaximum = aliases
			})
			c.decoder.MaxPacket = 40
			c.subscribe("t", 2)
			for q := range message.QoS(3) {
				b.publish("t", strings.Repeat("x", 100), q)
				exact := 40 - len("\x30\x00\x00\x01t\x00")
				if q > 0 {
					exact -= 2
				}
				b.publish("t", strings.Repeat("y", exact), q)
				b.publish("t", strings.Repeat("y", exact+1), q)
				b.publish("t", "small", q)
				c.receives(strings.Repeat("y", exact), "small")
			}
		}
	})
}

// TestNoRoomForConnack: if CONNACK does not fit into the client's maximum packet size, the gateway refuses in a shorter
// one, or closes without a packet, and publishes no will.
func TestNoRoomForConnack(t *testing.T) { // [MQTT-3.2.0-1] [MQTT-3.1.2-24]
	only(t, mqtt.V5, func(w *world) {
		watcher := w.watcher()
		for _, limit := range []uint32{4, 10} {
			c := w.dial()
			c.send(w.connecting("a", withWill(func(p *mqtt.Packet) { p.Properties.MaximumPacket = limit })))
			if limit >= 5 {
				c.refused(mqtt.PacketTooLarge)
			} else if p := c.take(); p != nil {
				t.Errorf("%+v came, want the end", p)
			}
		}
		watcher.quiet()
		w.connect("a").quiet()
	})
}

func TestReasonsFit(t *testing.T) { // [MQTT-3.4.2-2] [MQTT-3.9.2-1] [MQTT-3.11.2-1] [MQTT-3.14.2-3]
	only(t, mqtt.V5, func(w *world) {
		c, _ := w.open("a", func(p *mqtt.Packet) { p.Properties.MaximumPacket = 20 })
		c.decoder.MaxPacket = 20
		c.subscribe(tooDeep, 1)
		c.publish("$SYS/x", "x", 1)
		c.publish("$SYS/x", "x", 2)
		c.unsubscribe("t")
		c.raw("00")
		c.closed(mqtt.MalformedPacket)
	})
}

// TestMissedFits: CONNACK says how many messages were lost while the device was away, if there is room.
func TestMissedFits(t *testing.T) { // [MQTT-3.2.2-20]
	eachWith(t, settings{store: store.Options{Queue: store.Limits{Count: 2}}}, func(w *world) {
		for _, limit := range []uint32{0, 20} {
			c, _ := w.resume("a")
			c.subscribe("t", 1)
			c.disconnect()
			b := w.connect("b")
			for range 5 {
				b.publish("t", "x", 1)
			}
			c, ack := w.open("a", func(p *mqtt.Packet) {
				kept(p)
				p.Properties.MaximumPacket = limit
			})
			if got := fmt.Sprint(ack.Properties.User); got != map[uint32]string{0: "[{missed 3}]", 20: "[]"}[limit] {
				t.Errorf("at most %d bytes: user properties %s", limit, got)
			}
			c.receives("x", "x")
			c.disconnect()
		}
	}, mqtt.V5)
}

func TestMaximumPacketOfTheGateway(t *testing.T) { // [MQTT-3.2.2-15]
	eachWith(t, settings{gateway: gateway.Config{MaxPayload: 1000}}, func(w *world) {
		c, ack := w.open("a", nil)
		if got := ack.Properties.MaximumPacket; got != 1000 {
			t.Errorf("CONNACK says %d, want 1000", got)
		}
		c.publish("t", strings.Repeat("x", 900), 1)
		c.send(publication("t", strings.Repeat("x", 1000), 0))
		c.closed(mqtt.PacketTooLarge)
		if w.websocket {
			return // there the frame is refused for its size
		}
		c = w.connect("a")
		c.send(publication("t", strings.Repeat("x", 1<<20), 0)) // the reason arrives although we keep on sending
		c.closed(mqtt.PacketTooLarge)
	}, mqtt.V5)
}

func TestNoReasonsAsked(t *testing.T) { // [MQTT-3.1.2-29]
	only(t, mqtt.V5, func(w *world) {
		for _, wanted := range []bool{false, true} {
			c, _ := w.open("a", func(p *mqtt.Packet) {
				p.Properties.RequestProblem = wanted
				p.Properties.Mark(mqtt.PropRequestProblem)
			})
			c.send(&mqtt.Packet{Type: mqtt.Subscribe, ID: 1, Subscriptions: []mqtt.Subscription{{Filter: tooDeep}}})
			p := publication("$SYS/x", "x", 1)
			p.ID = 2
			c.send(p, &mqtt.Packet{Type: mqtt.Pubrel, ID: 3}, &mqtt.Packet{Type: mqtt.Unsubscribe, ID: 4, Filters: []string{"t"}})
			for range 4 {
				if p := c.take(); !wanted && (p.Properties.ReasonString != "" || len(p.Properties.User) > 0) {
					t.Errorf("%v has %+v", p.Type, p.Properties)
				}
			}
		}
	})
}

// aliased returns a PUBLISH with a topic alias.
func aliased(topic, payload string, alias uint16) *mqtt.Packet {
	p := publication(topic, payload, 0)
	p.Properties.TopicAlias = alias
	return p
}

func TestTopicAlias(t *testing.T) { // [MQTT-3.3.2-12] [MQTT-3.1.2-27]
	only(t, mqtt.V5, func(w *world) {
		c := w.connect("a")
		c.subscribe("#", 0)
		b, ack := w.open("b", nil)
		most := ack.Properties.TopicAliasMaximum
		if most == 0 {
			t.Fatal("no topic alias is accepted")
		}
		b.send(aliased("t/1", "", 1), aliased("t/most", "", most), aliased("", "", 1), aliased("", "", most),
			aliased("t/2", "", 1), aliased("", "", 1))
		for _, want := range []string{"t/1", "t/most", "t/1", "t/most", "t/2", "t/2"} {
			if p := c.receive(); p.Topic != want || p.Properties.Has(mqtt.PropTopicAlias) {
				t.Errorf("%q came, alias %d; want %q", p.Topic, p.Properties.TopicAlias, want)
			}
		}
	})
}

func TestBadTopicAlias(t *testing.T) { // [MQTT-3.3.2-7] [MQTT-3.3.2-8] [MQTT-3.3.2-9]
	only(t, mqtt.V5, func(w *world) {
		b, ack := w.open("b", nil)
		b.send(aliased("t", "", 1))
		b.disconnect()
		b = w.connect("b") // aliases belong to the connection
		b.send(aliased("", "", 1))
		b.closed(mqtt.ProtocolError, mqtt.TopicAliasInvalid)
		b = w.connect("b")
		b.send(aliased("t", "", ack.Properties.TopicAliasMaximum+1))
		b.closed(mqtt.TopicAliasInvalid)
		b = w.connect("b")
		b.raw("30 07 0001 74 03 23 0000")
		b.closed(mqtt.TopicAliasInvalid, mqtt.ProtocolError)
	})
}

// TestTopicAliasOfTheGateway: the gateway's aliases are within the client's maximum, and
// stand for the right topics.
func TestTopicAliasOfTheGateway(t *testing.T) { // [MQTT-3.1.2-26] [MQTT-3.3.2-10] [MQTT-3.3.2-11]
	only(t, mqtt.V5, func(w *world) {
		c, _ := w.open("a", func(p *mqtt.Packet) { p.Properties.TopicAliasMaximum = 2 })
		c.subscribe("#", 1)
		b := w.connect("b")
		known := map[uint16]string{}
		for i := range 12 {
			topic := fmt.Sprintf("t/%d", i%4)
			b.publish(topic, "x", message.QoS(i%2))
			p := c.receive()
			alias := p.Properties.TopicAlias
			switch {
			case alias > 2:
				t.Fatalf("alias %d, the client takes 2", alias)
			case alias > 0 && p.Topic != "":
				known[alias] = p.Topic
			case alias > 0:
				p.Topic = known[alias]
			}
			if p.Topic != topic {
				t.Errorf("%q came, alias %d; want %q", p.Topic, alias, topic)
			}
		}
	})
}
