package gateway

import (
	"fmt"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// A publication of each QoS reaches subscriptions of each QoS with the lesser of the two.
func TestMQTTExchange(t *testing.T) {
	eachWay(t, ways, settings{}, func(w *mqttWorld) {
		up := w.client("up")
		downs := make([]*mqttPeer, 3)
		for q := range downs {
			downs[q] = w.client(fmt.Sprint("down", q))
			downs[q].hear(message.QoS(q), "meter/+/power")
		}
		for q := range message.QoS(3) {
			up.publish("meter/42/power=230", q)
			for most, down := range downs {
				down.receive(fmt.Sprint("meter/42/power=230 qos ", min(int(q), most)))
			}
		}
		downs[0].say(&mqtt.Packet{Type: mqtt.Unsubscribe, ID: 5, Filters: []string{"meter/+/power", "other"}})
		answer := downs[0].take(mqtt.Unsuback)
		if answer.ID != 5 || w.way.version == mqtt.V5 && fmt.Sprint(answer.Codes) != fmt.Sprint([]mqtt.Code{0, mqtt.NoSubscriptionExisted}) {
			t.Errorf("UNSUBACK %d %v", answer.ID, answer.Codes)
		}
		up.publish("meter/42/power=231", 1)
		downs[1].receive("meter/42/power=231 qos 1")
		downs[0].quiet()
	})
}

// A will is said when the connection breaks, and not after a DISCONNECT; what is retained is
// sent to who comes later.
func TestMQTTWillAndRetained(t *testing.T) {
	eachWay(t, ways, settings{}, func(w *mqttWorld) {
		for _, polite := range []bool{true, false} {
			connect := opening("a")
			connect.Connect.HasWill = true
			connect.Connect.Will = mqtt.Will{Topic: "status/a", Payload: []byte("gone"), QoS: 1, Retain: true}
			p, _ := w.connectAs(connect)
			online := saying("status/a=here", 1, 3)
			online.Retain = true
			p.say(online)
			p.confirmed(1, 3)
			want := "status/a=gone qos 1 retain"
			if polite {
				p.say(&mqtt.Packet{Type: mqtt.Disconnect})
				p.ended()
				want = "status/a=here qos 1 retain"
			} else {
				_ = p.conn.Close()
				w.await("the will", func() bool { return w.metric("longline_wills_published_total") == 1 })
			}
			w.awaitPresence("a", false)
			later := w.client("later")
			later.hear(1, "status/#")
			later.receive(want)
			later.say(&mqtt.Packet{Type: mqtt.Disconnect})
			w.awaitPresence("later", false)
		}
	})
}

// What was not acknowledged comes again on the next connection, marked, under the same
// identifier; a QoS 2 message that was received is only released.
func TestMQTTResume(t *testing.T) {
	eachWay(t, ways, settings{}, func(w *mqttWorld) {
		first, _ := w.connectAs(keeping("down"))
		first.hear(2, "t/#")
		up := w.client("up")
		up.publish("t/1=one", 1)
		up.publish("t/2=two", 2)
		up.publish("t/3=three", 2)
		one, two, three := first.take(mqtt.Publish), first.take(mqtt.Publish), first.take(mqtt.Publish)
		first.say(&mqtt.Packet{Type: mqtt.Pubrec, ID: three.ID})
		first.take(mqtt.Pubrel)
		_ = first.conn.Close()
		w.awaitPresence("down", false)
		up.publish("t/4=four", 1)

		second, _ := w.connectAs(keeping("down"))
		released := 0
		for range 4 {
			p := <-second.packets
			switch {
			case p.Type == mqtt.Pubrel && p.ID == three.ID:
				released++
			case p.ID == one.ID && show(p) == "t/1=one qos 1 dup", p.ID == two.ID && show(p) == "t/2=two qos 2 dup",
				show(p) == "t/4=four qos 1":
			default:
				w.t.Errorf("%v %d %s", p.Type, p.ID, show(p))
			}
		}
		if released != 1 {
			w.t.Error("the third message was not released")
		}
	})
}

// Our QoS 2 publication that is repeated is routed once.
func TestMQTTExactlyOnceUplink(t *testing.T) {
	eachWay(t, ways, settings{}, func(w *mqttWorld) {
		down := w.client("down")
		down.hear(2, "t")
		up, _ := w.connectAs(keeping("up"))
		up.say(saying("t=once", 2, 4))
		up.take(mqtt.Pubrec)
		_ = up.conn.Close()
		w.awaitPresence("up", false)
		up, _ = w.connectAs(keeping("up"))
		again := saying("t=once", 2, 4)
		again.Dup = true
		up.say(again)
		up.confirmed(2, 4)
		down.receive("t=once qos 2")
		up.publish("t=next", 2)
		down.receive("t=next qos 2")
		up.say(&mqtt.Packet{Type: mqtt.Pubrel, ID: 99})
		if got := up.take(mqtt.Pubcomp).Reason; w.way.version == mqtt.V5 && got != mqtt.PacketIDNotFound {
			w.t.Error(got)
		}
	})
}

// A QoS 1 publication that waits for its receiver, and is repeated on the next connection, is
// routed once, and answered there.
func TestMQTTRepeatedWhileItWaits(t *testing.T) {
	s := settings{}
	s.sessions.InFlight, s.store.Queue.Count = 1, 1
	eachWay(t, ways, s, func(w *mqttWorld) {
		down := w.client("down")
		down.hear(1, "t")
		up, _ := w.connectAs(keeping("up"))
		up.publish("t=first", 1)
		again := saying("t=once", 1, 4)
		for range 3 {
			up.say(again)
			up.quiet()
			_ = up.conn.Close()
			w.awaitPresence("up", false)
			up, _ = w.connectAs(keeping("up"))
			again.Dup = true
		}
		up.say(again)
		up.quiet()
		down.receive("t=first qos 1")
		down.receive("t=once qos 1")
		up.confirmed(1, 4)
		up.publish("t=last", 1)
		down.receive("t=last qos 1")
	})
}
