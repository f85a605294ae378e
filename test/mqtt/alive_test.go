package mqtt

import (
	"testing"
	"time"

	"github.com/longline/longline/internal/gateway"
	"github.com/longline/longline/internal/wire/mqtt"
)

// TestKeepAlive: after one and a half times the keep alive without a packet, the gateway closes as if the
// network had failed.
func TestKeepAlive(t *testing.T) { // [MQTT-3.1.2-22] [3.1.1 MQTT-3.1.2-24]
	each(t, func(w *world) {
		watcher := w.watcher()
		c, _ := w.open("a", withWill(func(p *mqtt.Packet) { p.Connect.KeepAlive = 1 }))
		began := time.Now()
		c.closed(mqtt.KeepAliveTimeout)
		if took := time.Since(began); took < 1400*time.Millisecond || took > 4*time.Second {
			t.Errorf("closed after %v, want 1.5 s", took)
		}
		watcher.receives("gone")
	})
}

// TestPingsKeepAlive: pings and all other packets keep the connection alive.
func TestPingsKeepAlive(t *testing.T) { // [MQTT-3.12.4-1] [3.1.1 MQTT-3.12.4-1]
	each(t, func(w *world) {
		c, _ := w.open("a", func(p *mqtt.Packet) { p.Connect.KeepAlive = 1 })
		tick := time.NewTicker(700 * time.Millisecond)
		defer tick.Stop()
		for i := range 3 {
			<-tick.C
			if i%2 == 0 {
				c.send(&mqtt.Packet{Type: mqtt.Pingreq})
				c.expect(mqtt.Pingresp)
			} else {
				c.publish("t", "x", 1)
			}
		}
	})
}

// TestNoKeepAlive: the gateway does not close a silent client without a keep alive.
func TestNoKeepAlive(t *testing.T) { // [MQTT-3.2.2-22] MQTT 5 §3.1.2.10
	s := settings{gateway: gateway.Config{Heartbeat: 300 * time.Millisecond, HeartbeatTimeout: time.Second}}
	eachWith(t, s, func(w *world) {
		if w.websocket {
			return // the gateway's pings need a client that reads
		}
		c, ack := w.open("a", func(p *mqtt.Packet) { p.Connect.KeepAlive = 0 })
		if ack.Properties.ServerKeepAlive > 0 {
			return // it was told
		}
		clock, _ := w.open("clock", func(p *mqtt.Packet) { p.Connect.KeepAlive = 2 })
		clock.closed(mqtt.KeepAliveTimeout)
		c.quiet()
	}, mqtt.V4, mqtt.V5)
}

// TestHandshakeTimeout: the gateway closes a client that does not send CONNECT in time.
func TestHandshakeTimeout(t *testing.T) { // MQTT 5 §3.1.4
	s := settings{gateway: gateway.Config{HandshakeTimeout: 300 * time.Millisecond}}
	eachWith(t, s, func(w *world) {
		c := w.dial()
		c.closed()
		c = w.dial()
		c.raw("10 0d 0004 4d51")
		c.closed()
	}, mqtt.V4, mqtt.V5)
}

// TestMessageExpiry: an expired message does not arrive, and another one says how long it has left.
func TestMessageExpiry(t *testing.T) { // [MQTT-3.3.2-5] [MQTT-3.3.2-6]
	only(t, mqtt.V5, func(w *world) {
		c, _ := w.resume("a")
		c.subscribe("t", 2)
		c.disconnect()
		b := w.connect("b")
		expiring := func(topic string, seconds uint32, retain bool) {
			p := publication(topic, "x", 1)
			p.Retain, p.Properties.MessageExpiry = retain, seconds
			p.Properties.Mark(mqtt.PropMessageExpiry)
			b.publishPacket(p)
		}
		expiring("t", 0, false)
		expiring("t", 1, false)
		expiring("t", 60, false)
		expiring("r/none", 0, true)
		expiring("r/short", 1, true)
		expiring("r/long", 60, true)
		w.present("clock", keptFor(true, 2))
		w.awaitEnd("clock")
		c, _ = w.resume("a")
		late := func(p *mqtt.Packet) {
			if left := p.Properties.MessageExpiry; left == 0 || left > 59 {
				t.Errorf("%d seconds are left of 60", left)
			}
		}
		late(c.receive())
		c.quiet()
		c.subscribe("r/#", 1)
		late(c.receive())
		c.quiet()
	})
}

// TestExpiryStopsNoExchange: an exchange that has begun goes on after the message has expired.
func TestExpiryStopsNoExchange(t *testing.T) { // [MQTT-4.3.3-7] [MQTT-4.3.3-13]
	only(t, mqtt.V5, func(w *world) {
		c, _ := w.resume("a")
		c.subscribe("t", 2)
		b := w.connect("b")
		p := publication("t", "x", 2)
		p.ID, p.Properties.MessageExpiry = 7, 1
		b.send(p)
		b.answer(mqtt.Pubrec, 7)
		first := c.expect(mqtt.Publish)
		w.present("clock", keptFor(true, 2))
		w.awaitEnd("clock")
		b.release(7)
		c.cut()
		c, _ = w.resume("a")
		if again := c.expect(mqtt.Publish); again.ID != first.ID {
			t.Fatalf("%+v came, want %d again", again, first.ID)
		}
		c.send(&mqtt.Packet{Type: mqtt.Pubrec, ID: first.ID})
		c.answer(mqtt.Pubrel, first.ID)
		c.send(&mqtt.Packet{Type: mqtt.Pubcomp, ID: first.ID})
		c.quiet()
	})
}
