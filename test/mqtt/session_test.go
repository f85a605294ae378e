package mqtt

import (
	"testing"
	"time"

	"github.com/longline/longline/internal/wire/mqtt"
)

// keptFor changes a CONNECT of MQTT 5 to one whose session outlives it by some seconds.
func keptFor(clean bool, seconds uint32) func(p *mqtt.Packet) {
	return func(p *mqtt.Packet) { p.Connect.Clean, p.Properties.SessionExpiry = clean, seconds }
}

// present reports whether there is a session. It does not change when the session expires.
func (w *world) present(id string, change func(p *mqtt.Packet)) bool {
	w.Helper()
	c, ack := w.open(id, change)
	c.disconnect()
	return ack.SessionPresent
}

// awaitEnd polls until the session of a device has expired, because there is no event for that.
func (w *world) awaitEnd(device string) {
	w.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if _, ok := w.sessions.Get(device); !ok {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("the session of %s is there after its time", device)
		}
	}
}

func TestSessionIsResumed(t *testing.T) { // [MQTT-3.1.2-5] [MQTT-3.1.2-6] [MQTT-3.2.2-3] [3.1.1 MQTT-3.1.2-4] [3.1.1 MQTT-3.2.2-2] [3.1.1 MQTT-3.2.2-3]
	each(t, func(w *world) {
		c, present := w.resume("a")
		if present {
			t.Fatal("a session of nobody is present")
		}
		c.subscribe("t", 1)
		c.disconnect()
		c, present = w.resume("a")
		if !present {
			t.Fatal("the session is gone")
		}
		w.connect("b").publish("t", "x", 1)
		c.receives("x")
	})
}

func TestCleanStartForgets(t *testing.T) { // [MQTT-3.1.2-4] [MQTT-3.2.2-2] [3.1.1 MQTT-3.1.2-6] [3.1.1 MQTT-3.2.2-1]
	each(t, func(w *world) {
		c, _ := w.resume("a")
		c.subscribe("t", 1)
		c.disconnect()
		b := w.connect("b")
		b.publish("t", "for the old session", 1)
		c, ack := w.open("a", nil)
		if ack.SessionPresent {
			t.Error("the session is present after a clean start")
		}
		b.publish("t", "for the old session", 1)
		c.quiet()
		c.disconnect()
		if _, present := w.resume("a"); present {
			t.Error("a session without expiry outlived its connection")
		}
	})
}

func TestCutKeepsTheSession(t *testing.T) { // [MQTT-3.1.2-23] [MQTT-4.1.0-1] [3.1.1 MQTT-4.1.0-1]
	each(t, func(w *world) {
		c, _ := w.resume("a")
		c.subscribe("t", 1)
		c.cut()
		w.connect("b").publish("t", "meanwhile", 1)
		c, present := w.resume("a")
		if !present {
			t.Fatal("the session is gone")
		}
		c.receives("meanwhile")
	})
}

// TestMessagesWait: messages of QoS 1 and 2 wait in order for a client that is away.
func TestMessagesWait(t *testing.T) { // [MQTT-4.5.0-1] [3.1.1 MQTT-3.1.2-5] [3.1.1 MQTT-4.5.0-1]
	each(t, func(w *world) {
		c, _ := w.resume("a")
		c.subscribe("t/#", 2)
		c.disconnect()
		b := w.connect("b")
		b.publish("t/1", "one", 1)
		b.publish("t/2", "two", 2)
		b.publish("t/1", "three", 1)
		c, _ = w.resume("a")
		c.receives("one", "two", "three")
	})
}

func TestRetainedOutlivesSession(t *testing.T) { // [3.1.1 MQTT-3.1.2-7]
	each(t, func(w *world) {
		c := w.connect("a")
		c.retain("t", "x", 1)
		c.disconnect()
		c = w.connect("a")
		c.subscribe("t", 1)
		c.receives("x")
	})
}

func TestSessionEndsWithItsConnection(t *testing.T) { // MQTT 5 §3.1.2.11.2
	only(t, mqtt.V5, func(w *world) {
		for _, change := range []func(p *mqtt.Packet){
			keptFor(true, 0),
			func(p *mqtt.Packet) { p.Properties.Mark(mqtt.PropSessionExpiry) },
		} {
			w.present("a", change)
			if w.present("a", keptFor(false, 0)) {
				t.Error("the session outlived its connection")
			}
		}
	})
}

func TestSessionExpires(t *testing.T) { // [MQTT-4.1.0-2]
	only(t, mqtt.V5, func(w *world) {
		w.present("a", keptFor(true, 1))
		if !w.present("a", keptFor(false, 1)) {
			t.Fatal("the session is gone before its time")
		}
		w.awaitEnd("a")
		if w.present("a", keptFor(false, 1)) {
			t.Error("the session is there after its time")
		}
	})
}

func TestDisconnectChangesExpiry(t *testing.T) { // MQTT 5 §3.14.2.2.2
	only(t, mqtt.V5, func(w *world) {
		leave := func(id string, at, later uint32) {
			c, _ := w.open(id, keptFor(true, at))
			p := &mqtt.Packet{Type: mqtt.Disconnect, Properties: mqtt.Properties{SessionExpiry: later}}
			p.Properties.Mark(mqtt.PropSessionExpiry)
			c.send(p)
			c.closed()
		}
		leave("a", 600, 0)
		if w.present("a", keptFor(false, 1)) {
			t.Error("the session is there, although DISCONNECT ended it")
		}
		leave("a", 1, 600)
		leave("later", 600, 2)
		w.awaitEnd("later")
		if !w.present("a", keptFor(false, 600)) {
			t.Error("the session is gone, although DISCONNECT prolonged it")
		}
	})
}

func TestDisconnectAddsNoExpiry(t *testing.T) { // MQTT 5 §3.14.2.2.2
	only(t, mqtt.V5, func(w *world) {
		c := w.connect("a")
		c.send(&mqtt.Packet{Type: mqtt.Disconnect, Properties: mqtt.Properties{SessionExpiry: 5}})
		c.closed(mqtt.ProtocolError)
		if _, present := w.resume("a"); present {
			t.Error("the session was kept")
		}
	})
}

// TestResumeAcrossVersions: a session belongs to the device, not to a protocol version.
func TestResumeAcrossVersions(t *testing.T) {
	only(t, mqtt.V4, func(w *world) {
		c, _ := w.resume("a")
		c.subscribe("t", 1)
		c.disconnect()
		w.connect("b").publish("t", "x", 1)
		w.version = mqtt.V5
		c, present := w.resume("a")
		if !present {
			t.Fatal("the session is gone")
		}
		c.receives("x")
	})
}
