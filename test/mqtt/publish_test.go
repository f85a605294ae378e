package mqtt

import (
	"fmt"
	"strings"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// TestQoSIsTheLesser of the published and the granted QoS. Every message arrives once, without DUP,
// and with an identifier if it needs one.
func TestQoSIsTheLesser(t *testing.T) { // [MQTT-3.8.4-8] [3.1.1 MQTT-3.8.4-6] [MQTT-4.3.1-1] [MQTT-4.3.2-2] [MQTT-4.3.3-2]
	each(t, func(w *world) {
		b := w.connect("b")
		for granted := range message.QoS(3) {
			c := w.connect("a")
			if got := c.subscribe("t", granted); got != mqtt.Code(granted) {
				t.Fatalf("QoS %d: %v", granted, got)
			}
			for q := range message.QoS(3) {
				b.publish("t", "x", q)
				p := c.receive()
				if p.QoS != min(granted, q) || p.Dup || p.Retain || p.Topic != "t" || string(p.Payload) != "x" {
					t.Errorf("QoS %d to one of QoS %d: %+v", q, granted, p)
				}
			}
			c.quiet()
		}
	})
}

// TestIdentifiersInUse: each message in flight has an identifier of its own.
func TestIdentifiersInUse(t *testing.T) { // [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1] [3.1.1 MQTT-2.3.1-4]
	each(t, func(w *world) {
		c, b := w.connect("a"), w.connect("b")
		c.subscribe("t", 2)
		seen := map[uint16]bool{}
		for i := range 10 {
			b.publish("t", "x", message.QoS(1+i%2))
			p := c.expect(mqtt.Publish)
			if seen[p.ID] {
				t.Errorf("identifier %d is in use", p.ID)
			}
			seen[p.ID] = true
		}
	})
}

func TestUnroutedIsAcknowledged(t *testing.T) { // [MQTT-3.3.4-1] [3.1.1 MQTT-3.3.4-1]
	each(t, func(w *world) {
		c := w.connect("a")
		for q := message.QoS(1); q <= 2; q++ {
			if got := c.publish("nobody", "x", q); got != mqtt.Success && got != mqtt.NoMatchingSubscribers {
				t.Errorf("QoS %d: %v", q, got)
			}
		}
	})
}

// TestExactlyOnce: until PUBREL an identifier stands for one message, then for another.
func TestExactlyOnce(t *testing.T) { // [MQTT-4.3.3-8] [MQTT-4.3.3-10] to [MQTT-4.3.3-12] [3.1.1 MQTT-4.3.3-2]
	each(t, func(w *world) {
		c, b := w.connect("a"), w.connect("b")
		c.subscribe("t", 2)
		for _, payload := range []string{"first", "second"} {
			p := publication("t", payload, 2)
			p.ID = 7
			b.send(p)
			b.answer(mqtt.Pubrec, 7)
			p.Dup = true
			b.send(p)
			b.answer(mqtt.Pubrec, 7)
			if got := b.release(7); got != mqtt.Success {
				t.Errorf("PUBCOMP says %v", got)
			}
			c.receives(payload)
		}
	})
}

func TestExactlyOnceOverACut(t *testing.T) { // [MQTT-4.3.3-10] [3.1.1 MQTT-4.3.3-2]
	each(t, func(w *world) {
		c := w.connect("a")
		c.subscribe("t", 2)
		b, _ := w.resume("b")
		p := publication("t", "once", 2)
		p.ID = 7
		b.send(p)
		b.answer(mqtt.Pubrec, 7)
		b.cut()
		b, _ = w.resume("b")
		p.Dup = true
		b.send(p)
		b.answer(mqtt.Pubrec, 7)
		b.cut()
		b, _ = w.resume("b")
		b.release(7)
		c.receives("once")
	})
}

// TestSameIdentifierAfterPuback names another message, whatever DUP says.
func TestSameIdentifierAfterPuback(t *testing.T) { // [MQTT-4.3.2-5] [3.1.1 MQTT-4.3.2-2]
	each(t, func(w *world) {
		c, b := w.connect("a"), w.connect("b")
		c.subscribe("t", 1)
		for _, payload := range []string{"first", "second"} {
			p := publication("t", payload, 1)
			p.ID, p.Dup = 7, true
			b.publishPacket(p)
			if got := c.receive(); string(got.Payload) != payload || got.Dup { // [MQTT-3.3.1-3] [3.1.1 MQTT-3.3.1-3]
				t.Errorf("%q came, DUP %v; want %q", got.Payload, got.Dup, payload)
			}
		}
	})
}

func TestUnknownIdentifiers(t *testing.T) { // [MQTT-4.3.3-11] [3.1.1 MQTT-4.3.3-2]
	each(t, func(w *world) {
		c := w.connect("a")
		if got, want := c.release(999), mqtt.PacketIDNotFound; got != want && (w.version == mqtt.V5 || got != mqtt.Success) {
			t.Errorf("PUBCOMP says %v", got)
		}
		c.send(&mqtt.Packet{Type: mqtt.Pubrec, ID: 998})
		c.answer(mqtt.Pubrel, 998)
		c.send(&mqtt.Packet{Type: mqtt.Puback, ID: 997}, &mqtt.Packet{Type: mqtt.Pubcomp, ID: 996})
		c.quiet()
	})
}

// TestAnswerOfAnotherQoS ends the connection; the message arrives again on the next.
func TestAnswerOfAnotherQoS(t *testing.T) { // [MQTT-4.13.1-1] [3.1.1 MQTT-4.8.0-1]
	each(t, func(w *world) {
		c, _ := w.resume("a")
		c.subscribe("t", 2)
		b := w.connect("b")
		for q, answers := range map[message.QoS][]mqtt.Type{1: {mqtt.Pubrec, mqtt.Pubcomp}, 2: {mqtt.Puback, mqtt.Pubcomp}} {
			for _, answer := range answers {
				b.publish("t", "x", q)
				c.send(&mqtt.Packet{Type: answer, ID: c.expect(mqtt.Publish).ID})
				c.closed(mqtt.ProtocolError)
				c, _ = w.resume("a")
				c.receives("x")
			}
		}
	})
}

// TestRefusedByTheReceiver: a message that a receiver refuses is not sent again.
func TestRefusedByTheReceiver(t *testing.T) { // [MQTT-4.4.0-2] [MQTT-4.3.3-4]
	only(t, mqtt.V5, func(w *world) {
		c, _ := w.resume("a")
		c.subscribe("t", 2)
		b := w.connect("b")
		for q, answer := range map[message.QoS]mqtt.Type{1: mqtt.Puback, 2: mqtt.Pubrec} {
			b.publish("t", "x", q)
			p := c.expect(mqtt.Publish)
			c.send(&mqtt.Packet{Type: answer, ID: p.ID, Reason: mqtt.UnspecifiedError})
			c.quiet()
		}
		c.disconnect()
		c, _ = w.resume("a")
		c.quiet()
	})
}

// TestSentAgain: unacknowledged messages arrive again on the next connection, unchanged, in
// order, and before new ones. For a message that was received, only PUBREL is sent. Nothing
// is sent again on the same connection.
func TestSentAgain(t *testing.T) { // [MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-4.3.3-5] [MQTT-4.3.3-6] [3.1.1 MQTT-4.4.0-1]
	each(t, func(w *world) {
		c, _ := w.resume("a")
		c.subscribe("t", 2)
		b := w.connect("b")
		var sent []*mqtt.Packet
		for i, q := range []message.QoS{1, 2, 2, 1} {
			b.publish("t", fmt.Sprint(i), q)
			sent = append(sent, c.expect(mqtt.Publish))
		}
		c.send(&mqtt.Packet{Type: mqtt.Pubrec, ID: sent[1].ID})
		c.answer(mqtt.Pubrel, sent[1].ID)
		c.quiet()
		c.disconnect()
		b.publish("t", "4", 1)
		c, _ = w.resume("a")
		released := false
		for _, i := range []int{0, 2, 3} {
			p := c.take()
			if p.Type == mqtt.Pubrel && p.ID == sent[1].ID && !released {
				released, p = true, c.take()
			}
			if p.Type != mqtt.Publish || !p.Dup || p.ID != sent[i].ID || string(p.Payload) != fmt.Sprint(i) {
				t.Fatalf("%v came: %+v, want %+v again", p.Type, p, sent[i])
			}
		}
		for !released {
			released = c.answer(mqtt.Pubrel, sent[1].ID) != nil
		}
		if p := c.receive(); p.Dup || string(p.Payload) != "4" {
			t.Errorf("DUP %v with %q, want a new message", p.Dup, p.Payload)
		}
		c.send(&mqtt.Packet{Type: mqtt.Pubcomp, ID: sent[1].ID})
		c.quiet()
	})
}

func TestOrder(t *testing.T) { // [MQTT-4.6.0-5] [MQTT-4.6.0-6] [3.1.1 MQTT-4.6.0-5] [3.1.1 MQTT-4.6.0-6]
	each(t, func(w *world) {
		c, b := w.connect("a"), w.connect("b")
		c.subscribe("t", 2)
		for q := range message.QoS(3) {
			var packets []*mqtt.Packet
			for i := range 20 {
				p := publication("t", fmt.Sprint(i), q)
				if q > 0 {
					p.ID = uint16(100 + i)
				}
				packets = append(packets, p)
			}
			b.send(packets...)
			for i := range packets {
				if p := c.receive(); string(p.Payload) != fmt.Sprint(i) {
					t.Fatalf("QoS %d: %q came as number %d", q, p.Payload, i)
				}
			}
			for i := range packets { // the answers have the same order
				switch q {
				case message.AtLeastOnce:
					b.answer(mqtt.Puback, uint16(100+i))
				case message.ExactlyOnce:
					b.answer(mqtt.Pubrec, uint16(100+i))
				}
			}
			for i := 0; i < len(packets) && q == message.ExactlyOnce; i++ {
				b.release(uint16(100 + i))
			}
		}
	})
}

func TestOverlappingSubscriptions(t *testing.T) { // [MQTT-3.3.4-2] [3.1.1 MQTT-3.3.5-1]
	each(t, func(w *world) {
		c := w.connect("a")
		c.subscribe("t/+", 0)
		c.subscribe("t/#", 2)
		c.subscribe("t/x", 1)
		w.connect("b").publish("t/x", "one copy", 2)
		if p := c.receive(); p.QoS != 2 {
			t.Errorf("QoS %d, want 2", p.QoS)
		}
		c.quiet()
	})
}

// TestMatching is §4.7 by example.
func TestMatching(t *testing.T) { // [MQTT-3.3.2-3] [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.2-1] [MQTT-4.7.3-4]
	each(t, func(w *world) {
		b := w.connect("b")
		for _, tt := range []struct {
			filter, topic string
			matches       bool
		}{
			{"sport/tennis/player1/#", "sport/tennis/player1", true},
			{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
			{"sport/#", "sport", true},
			{"#", "/x", true},
			{"sport/tennis/+", "sport/tennis/player1", true},
			{"sport/tennis/+", "sport/tennis/player1/ranking", false},
			{"sport/+", "sport", false},
			{"sport/+", "sport/", true},
			{"+/+", "/finance", true},
			{"/+", "/finance", true},
			{"+", "/finance", false},
			{"+", "finance", true},
			{"+/tennis/#", "sport/tennis", true},
			{"ACCOUNTS", "Accounts", false},
			{"/finance", "finance", false},
			{"a//b", "a/b", false},
			{"a//b", "a//b", true},
			{"a/+/b", "a//b", true},
			{"Accounts payable", "Accounts payable", true},
			{"\ufeffa", "\ufeffa", true}, // [MQTT-1.5.4-3] [3.1.1 MQTT-1.5.3-3]
			{"a", "\ufeffa", false},
			{"é", "e\u0301", false}, // nothing is normalised
			{"#", "$TopicA/B", false},
			{"+/B", "$TopicA/B", false},
		} {
			c := w.connect("a")
			c.subscribe(tt.filter, 0)
			b.publish(tt.topic, "x", 1)
			if !tt.matches {
				c.quiet()
			} else if p := c.receive(); p.Topic != tt.topic {
				t.Errorf("%q came for %q", p.Topic, tt.topic)
			}
			c.disconnect()
		}
	})
}

// TestGatewaysTopics: the gateway refuses publications to topics that begin with $.
func TestGatewaysTopics(t *testing.T) { // [3.1.1 MQTT-3.3.5-2]
	each(t, func(w *world) {
		c := w.connect("a")
		for q := range message.QoS(3) {
			if got := c.publish("$SYS/x", "x", q); q > 0 && w.version == mqtt.V5 && got != mqtt.NotAuthorized {
				t.Errorf("QoS %d: %v", q, got)
			}
		}
		c.quiet()
	})
}

func TestPropertiesAreForwarded(t *testing.T) { // [MQTT-3.3.2-4] [MQTT-3.3.2-15] to [MQTT-3.3.2-18] [MQTT-3.3.2-20]
	only(t, mqtt.V5, func(w *world) {
		c, b := w.connect("a"), w.connect("b")
		c.subscribe("t", 2)
		user := []message.Property{{Key: "b", Value: "2"}, {Key: "a", Value: "1"}, {Key: "b", Value: "2"}, {Key: "", Value: ""}}
		for i := range 6 { // live, then retained
			p := publication("t", "x", message.QoS(i%3))
			p.Retain = i > 2
			p.Properties = mqtt.Properties{
				TextPayload: true, ContentType: "My name", ResponseTopic: "r/\ufeff", CorrelationData: []byte{0, 0xff}, User: user,
			}
			b.publishPacket(p)
			got := c.receive()
			if p.Retain {
				late := w.connect("late")
				late.subscribe("t", 2)
				got = late.receive()
			}
			q := &got.Properties
			if !q.TextPayload || q.ContentType != "My name" || q.ResponseTopic != "r/\ufeff" || string(q.CorrelationData) != "\x00\xff" {
				t.Errorf("QoS %d: %+v", p.QoS, q)
			}
			if fmt.Sprint(q.User) != fmt.Sprint(user) {
				t.Errorf("QoS %d: user properties %q", p.QoS, q.User)
			}
			if q.Has(mqtt.PropMessageExpiry) || q.Has(mqtt.PropTopicAlias) || q.Has(mqtt.PropSubscriptionID) {
				t.Errorf("QoS %d: properties that nobody set: %+v", p.QoS, q)
			}
		}
	})
}

func TestPropertiesNobodySet(t *testing.T) {
	only(t, mqtt.V5, func(w *world) {
		c := w.connect("a")
		c.subscribe("t", 2)
		b := w.connect("b")
		for q := range message.QoS(3) {
			b.publish("t", "", q)
			p := c.receive()
			for id := mqtt.PropPayloadFormat; id <= mqtt.PropSharedAvailable; id++ {
				if p.Properties.Has(id) {
					t.Errorf("QoS %d: property %d came", q, id)
				}
			}
		}
	})
}

// TestTopicsBeyondBounds, including the largest possible topic, are refused. In 3.1.1, which has no refusal, the gateway
// acknowledges them. The connection stays open.
func TestTopicsBeyondBounds(t *testing.T) { // [MQTT-4.7.3-3] [3.1.1 MQTT-4.7.3-3] [3.1.1 MQTT-3.3.5-2]
	each(t, func(w *world) {
		watcher, c := w.watcher(), w.connect("a")
		for _, topic := range []string{tooDeep, strings.Repeat("a", 65535)} {
			for q := range message.QoS(3) {
				want := mqtt.TopicNameInvalid
				if w.version != mqtt.V5 || q == 0 {
					want = mqtt.Success
				}
				if got := c.publish(topic, "x", q); got != want {
					t.Errorf("QoS %d: %v, want %v", q, got, want)
				}
			}
		}
		c.publish("w", "x", 1)
		watcher.receives("x")
	})
}

// TestReadPast: a client of 3.1.1 cannot be told how large a packet may be. The gateway acknowledges one that is too large without keeping
// it, and the packets behind it arrive.
func TestReadPast(t *testing.T) { // [3.1.1 MQTT-3.3.5-2]
	eachWith(t, settings{}, func(w *world) {
		watcher, c := w.watcher(), w.connect("a")
		for q := range message.QoS(3) {
			if got := c.publish("w", strings.Repeat("x", 300_000), q); got != mqtt.Success {
				t.Errorf("QoS %d: %v", q, got)
			}
		}
		c.publish("w", "behind", 1)
		watcher.receives("behind")
		c.send(&mqtt.Packet{Type: mqtt.Pingreq})
		c.expect(mqtt.Pingresp)
	}, mqtt.V3, mqtt.V4)
}

// TestLargePayloads, much larger than usual packets, arrive unchanged.
func TestLargePayloads(t *testing.T) {
	each(t, func(w *world) {
		c, b := w.connect("a"), w.connect("b")
		c.subscribe("t", 1)
		for _, size := range []int{0, 1, 127, 128, 16_383, 16_384, 200_000} {
			payload := strings.Repeat("x", size)
			b.publish("t", payload, 1)
			c.receives(payload)
		}
	})
}

// TestClientWithoutSubscribers answers 0x10, as Mosquitto's bridge does: that counts as success.
func TestClientWithoutSubscribers(t *testing.T) {
	only(t, mqtt.V5, func(w *world) {
		c := w.connect("a")
		c.subscribe("t", 2)
		for q, answer := range map[message.QoS]mqtt.Type{1: mqtt.Puback, 2: mqtt.Pubrec} {
			w.connect("b").publish("t", "x", q)
			p := c.expect(mqtt.Publish)
			c.send(&mqtt.Packet{Type: answer, ID: p.ID, Reason: mqtt.NoMatchingSubscribers})
			if q == 2 {
				c.answer(mqtt.Pubrel, p.ID)
				c.send(&mqtt.Packet{Type: mqtt.Pubcomp, ID: p.ID})
			}
		}
		c.quiet()
	})
}
