package mqtt

import (
	"fmt"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// withWill changes a CONNECT to one that leaves "gone" on the topic w.
func withWill(change func(p *mqtt.Packet)) func(p *mqtt.Packet) {
	return func(p *mqtt.Packet) {
		p.Connect.HasWill, p.Connect.Will = true, mqtt.Will{Topic: "w", Payload: []byte("gone"), QoS: 1}
		if change != nil {
			change(p)
		}
	}
}

// watcher subscribes to wills.
func (w *world) watcher() *client {
	w.Helper()
	c := w.connect("watcher")
	c.subscribe("w", 2)
	return c
}

func TestWill(t *testing.T) { // [MQTT-3.1.2-7] [MQTT-3.1.2-8] [3.1.1 MQTT-3.1.2-8]
	each(t, func(w *world) {
		watcher := w.watcher()
		for what, end := range map[string]func(c *client){
			"a cut":            func(c *client) { c.cut() },
			"a malformed one":  func(c *client) { c.raw("00 00") },
			"a protocol error": func(c *client) { c.send(w.connecting("a", nil)) },
			"a takeover":       func(*client) { w.connect("a").disconnect() },
		} {
			c, _ := w.open("a", withWill(nil))
			watcher.quiet()
			end(c)
			if p := watcher.receive(); string(p.Payload) != "gone" || p.Retain {
				t.Errorf("%s: %+v", what, p)
			}
			watcher.quiet() // once [MQTT-3.1.2-10] [3.1.1 MQTT-3.1.2-10]
		}
	})
}

func TestWillIsForgotten(t *testing.T) { // [MQTT-3.1.2-10] [MQTT-3.14.4-3] [3.1.1 MQTT-3.14.4-3]
	each(t, func(w *world) {
		watcher := w.watcher()
		c, _ := w.open("a", withWill(nil))
		c.disconnect()
		watcher.quiet()
		w.connect("a").cut() // another connection does not have it either [3.1.1 MQTT-3.1.2-12]
		w.connect("a").disconnect()
		watcher.quiet()
	})
}

func TestDisconnectWithWill(t *testing.T) { // MQTT 5 §3.14.2.1
	only(t, mqtt.V5, func(w *world) {
		watcher := w.watcher()
		for _, reason := range []mqtt.Code{mqtt.DisconnectWithWill, mqtt.UnspecifiedError} {
			c, _ := w.open("a", withWill(nil))
			c.send(&mqtt.Packet{Type: mqtt.Disconnect, Reason: reason})
			c.closed()
			watcher.receives("gone")
		}
	})
}

func TestWillQoSAndRetain(t *testing.T) { // [MQTT-3.1.2-12] [MQTT-3.1.2-14] [MQTT-3.1.2-15] [3.1.1 MQTT-3.1.2-16] [3.1.1 MQTT-3.1.2-17]
	each(t, func(w *world) {
		watcher := w.watcher()
		for q := range message.QoS(3) {
			for _, retain := range []bool{false, true} {
				c, _ := w.open("a", withWill(func(p *mqtt.Packet) {
					p.Connect.Will.QoS, p.Connect.Will.Retain = q, retain
				}))
				c.cut()
				if p := watcher.receive(); p.QoS != q || p.Retain {
					t.Errorf("QoS %d, retain %v, want QoS %d", p.QoS, p.Retain, q)
				}
				late := w.connect("late")
				late.subscribe("w", 2)
				if retain {
					late.receives("gone")
				}
				late.quiet()
				w.connect("b").retain("w", "", 0)
				watcher.receives("")
			}
		}
	})
}

func TestWillProperties(t *testing.T) { // [MQTT-3.1.3-10]
	only(t, mqtt.V5, func(w *world) {
		watcher := w.watcher()
		user := []message.Property{{Key: "b", Value: "2"}, {Key: "a", Value: "1"}, {Key: "b", Value: "3"}}
		c, _ := w.open("a", withWill(func(p *mqtt.Packet) {
			p.Connect.Will.Properties = mqtt.Properties{
				TextPayload: true, MessageExpiry: 60, ContentType: "c", ResponseTopic: "r", CorrelationData: []byte("d"), User: user,
			}
		}))
		c.cut()
		q := watcher.receive().Properties
		if !q.TextPayload || q.ContentType != "c" || q.ResponseTopic != "r" || string(q.CorrelationData) != "d" {
			t.Errorf("%+v", q)
		}
		if q.MessageExpiry == 0 || q.MessageExpiry > 60 || q.Has(mqtt.PropWillDelay) {
			t.Errorf("message expiry %d, will delay %v", q.MessageExpiry, q.Has(mqtt.PropWillDelay))
		}
		if fmt.Sprint(q.User) != fmt.Sprint(user) {
			t.Errorf("user properties %q", q.User)
		}
	})
}

// delayed changes a CONNECT to one with a will delay and a session expiry of so many
// seconds.
func delayed(delay, expiry uint32) func(p *mqtt.Packet) {
	return withWill(func(p *mqtt.Packet) {
		p.Connect.Clean = false
		p.Properties.SessionExpiry, p.Connect.Will.Properties.WillDelay = expiry, delay
	})
}

func TestWillDelay(t *testing.T) { // [MQTT-3.1.2-8]
	only(t, mqtt.V5, func(w *world) {
		watcher := w.watcher()
		for what, change := range map[string]func(*mqtt.Packet){
			"the delay":            delayed(1, 600),
			"the session's expiry": delayed(600, 1), // the earlier one counts
		} {
			c, _ := w.open("a", change)
			began := time.Now()
			c.cut()
			watcher.quiet()
			watcher.receives("gone")
			if took := time.Since(began); took < 900*time.Millisecond {
				t.Errorf("%s: the will came after %v, want a second", what, took)
			}
		}
	})
}

func TestWillDelayOver(t *testing.T) { // [MQTT-3.1.3-9]
	only(t, mqtt.V5, func(w *world) {
		watcher := w.watcher()
		c, _ := w.open("a", delayed(1, 600))
		c.cut()
		w.resume("a")
		c, _ = w.open("later", func(p *mqtt.Packet) {
			delayed(2, 600)(p)
			p.Connect.Will.Payload = []byte("later")
		})
		c.cut()
		watcher.receives("later")
	})
}

// TestWillOfACleanStart: the will is published when the session ends.
func TestWillOfACleanStart(t *testing.T) { // MQTT 5 §3.1.2.5
	only(t, mqtt.V5, func(w *world) {
		watcher := w.watcher()
		c, _ := w.open("a", delayed(600, 600))
		c.cut()
		w.connect("a")
		watcher.receives("gone")
	})
}

func TestBadWillTopic(t *testing.T) { // [MQTT-3.1.4-2]
	each(t, func(w *world) {
		for _, topic := range []string{"a/#", "+", ""} {
			c := w.dial()
			p := w.connecting("a", withWill(nil))
			b, err := mqtt.Append(nil, w.version, p)
			if err != nil {
				t.Fatal(err)
			}
			at := len(b) - len("w\x00\x04gone") // the will topic's one byte
			b = append(append(b[:at-1:at-1], byte(len(topic))), append([]byte(topic), b[at+1:]...)...)
			b[1] += byte(len(topic) - 1)
			c.write(b)
			if p := c.take(); p != nil && (p.Type != mqtt.Connack || !p.Reason.Failed() || c.take() != nil) {
				t.Errorf("%q: %v came: %+v", topic, p.Type, p)
			}
		}
	})
}

// TestWillNotAllowed refuses the connection: the will would never be published.
func TestWillNotAllowed(t *testing.T) {
	each(t, func(w *world) {
		c := w.dial()
		p := &mqtt.Packet{Type: mqtt.Connect}
		p.Connect.ClientID, p.Connect.Clean, p.Connect.Version = "a", true, w.version
		p.Connect.HasWill, p.Connect.Will.Topic = true, "$presence/victim"
		c.send(p)
		c.refused(mqtt.NotAuthorized)
	})
}
