package gateway

import (
	"strings"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/wire/mqtt"
)

// The device is sent no more than its Receive Maximum at a time, and may have no more QoS 2
// publications open than it was told.
func TestMQTTReceiveMaximum(t *testing.T) {
	eachWay(t, fives, settings{sessions: session.Config{Unanswered: 2}}, func(w *mqttWorld) {
		connect := opening("a")
		connect.Properties.ReceiveMaximum = 1
		p, _ := w.connectAs(connect)
		p.hear(1, "t")
		up := w.client("up")
		up.publish("t=1", 1)
		up.publish("t=2", 1)
		first := p.take(mqtt.Publish)
		p.quiet()
		p.say(&mqtt.Packet{Type: mqtt.Puback, ID: first.ID})
		p.expect("t=2 qos 1")

		for id := range uint16(3) {
			up.say(saying("other=x", 2, id+1))
		}
		up.take(mqtt.Pubrec)
		up.take(mqtt.Pubrec)
		up.endedWith(mqtt.ReceiveMaximumExceeded)
	})
}

// What is larger than the client takes is not sent, counted, and off the queue.
func TestMQTTMaximumPacket(t *testing.T) {
	eachWay(t, fives, settings{}, func(w *mqttWorld) {
		connect := opening("a")
		connect.Properties.MaximumPacket, connect.Properties.ReceiveMaximum = 100, 1
		p, _ := w.connectAs(connect)
		p.hear(2, "t")
		up := w.client("up")
		for q := range message.QoS(3) {
			up.publish("t="+strings.Repeat("x", 200), q)
			up.publish("t=small", q)
			want := []string{"t=small qos 0", "t=small qos 1", "t=small qos 2"}
			p.receive(want[q])
		}
		info, _ := w.sessions.Get("a")
		if dropped := w.dropped("refused"); dropped != 3 || info.Queued > 1 {
			w.t.Errorf("%d dropped, %d queued", dropped, info.Queued)
		}
	})
}

// dropped is the count of a reason.
func (w *mqttWorld) dropped(why string) (n uint64) {
	w.router.Drops.Each(func(label string, count uint64) {
		if label == why {
			n = count
		}
	})
	return n
}

// A topic is said once in each direction, and then its alias.
func TestMQTTTopicAlias(t *testing.T) {
	eachWay(t, fives, settings{gateway: Config{MQTT: MQTT{TopicAliases: 1}}}, func(w *mqttWorld) {
		connect := opening("down")
		connect.Properties.TopicAliasMaximum = 5
		down, _ := w.connectAs(connect)
		down.hear(1, "t/#")
		up := w.client("up")
		for _, topic := range []string{"t/1", "", "t/2", ""} {
			p := saying(topic+"=x", 0, 0)
			p.Properties.TopicAlias = 1
			up.say(p)
		}
		for i, want := range []struct {
			topic string
			alias uint16
		}{{"t/1", 1}, {"", 1}, {"t/2", 0}, {"t/2", 0}} {
			if got := down.take(mqtt.Publish); got.Topic != want.topic || got.Properties.TopicAlias != want.alias {
				w.t.Errorf("%d: %q alias %d", i, got.Topic, got.Properties.TopicAlias)
			}
		}
	})
}

// Options of subscriptions: identifiers, no local, retain as published, shared ones.
func TestMQTTSubscriptionOptions(t *testing.T) {
	eachWay(t, fives, settings{}, func(w *mqttWorld) {
		p := w.client("a")
		p.say(&mqtt.Packet{
			Type: mqtt.Subscribe, ID: 1,
			Properties:    mqtt.Properties{SubscriptionIDs: []uint32{300}},
			Subscriptions: []mqtt.Subscription{{Filter: "t/#", QoS: 1, NoLocal: true, RetainAsPublished: true}},
		})
		p.take(mqtt.Suback)
		p.publish("t/mine=x", 1)
		other := w.client("b")
		kept := saying("t/other=y", 1, 8)
		kept.Retain = true
		other.say(kept)
		other.confirmed(1, 8)
		p.receive("t/other=y qos 1 retain for [300]")

		codes := p.subscribe(mqtt.Subscription{Filter: strings.Repeat("a/", 99)}, mqtt.Subscription{Filter: "fine", QoS: 2})
		if len(codes) != 2 || codes[0] != mqtt.TopicFilterInvalid || codes[1] != mqtt.GrantedQoS2 {
			w.t.Errorf("%v", codes)
		}
	})
}

// A group gets each message once.
func TestMQTTSharedSubscription(t *testing.T) {
	eachWay(t, ways, settings{}, func(w *mqttWorld) {
		members := []*mqttPeer{w.client("m1"), w.client("m2")}
		for _, m := range members {
			m.hear(1, "$share/g/job")
		}
		up := w.client("up")
		for range 20 {
			up.publish("job=x", 1)
		}
		for got := 0; got < 20; got++ {
			select {
			case p := <-members[0].packets:
				members[0].say(&mqtt.Packet{Type: mqtt.Puback, ID: p.ID})
			case p := <-members[1].packets:
				members[1].say(&mqtt.Packet{Type: mqtt.Puback, ID: p.ID})
			}
		}
		for _, m := range members {
			m.quiet()
		}
	})
}

// What a message carries in MQTT 5 arrives as it was sent.
func TestMQTTProperties(t *testing.T) {
	eachWay(t, fives, settings{}, func(w *mqttWorld) {
		down, up := w.client("down"), w.client("up")
		down.hear(1, "t")
		p := saying("t=x", 1, 5)
		p.Properties = mqtt.Properties{
			TextPayload: true, MessageExpiry: 100, ContentType: "text/plain", ResponseTopic: "r", CorrelationData: []byte{0, 1},
			User: []message.Property{{Key: "k", Value: "1"}, {Key: "k", Value: "2"}},
		}
		up.say(p)
		up.confirmed(1, 5)
		got := down.take(mqtt.Publish).Properties
		if !got.TextPayload || got.MessageExpiry == 0 || got.MessageExpiry > 100 || got.ContentType != "text/plain" || got.ResponseTopic != "r" ||
			string(got.CorrelationData) != "\x00\x01" || len(got.User) != 2 || got.User[1].Value != "2" {
			w.t.Errorf("%+v", got)
		}
	})
}

// A device that has to go is told so, and where to.
func TestMQTTDrain(t *testing.T) {
	const elsewhere = "other.example.com:8883"
	eachWay(t, ways[1:], settings{gateway: Config{MQTT: MQTT{ServerReference: elsewhere}}}, func(w *mqttWorld) {
		p := w.client("a")
		if err := w.gateway.Drain(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		last := p.ended()
		if w.way.version == mqtt.V5 && (last == nil || last.Reason != mqtt.UseAnotherServer || last.Properties.ServerReference != elsewhere) {
			w.t.Errorf("%+v", last)
		}
	})
}

// Correlation data that is there and empty is forwarded as it is [MQTT-3.3.2-16].
func TestMQTTEmptyCorrelationData(t *testing.T) {
	eachWay(t, fives, settings{}, func(w *mqttWorld) {
		p := w.client("a")
		p.hear(0, "t")
		for _, data := range [][]byte{{}, nil} {
			up := saying("t=x", 0, 0)
			up.Properties.CorrelationData = data
			p.say(up)
			if got := p.take(mqtt.Publish).Properties.CorrelationData; len(got) > 0 || (got == nil) != (data == nil) {
				w.t.Errorf("got %#v, want %#v", got, data)
			}
		}
	})
}
