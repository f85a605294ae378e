package mqtt

import (
	"strings"
	"testing"

	"github.com/longline/longline/internal/wire/mqtt"
)

func TestFirstPacketIsConnect(t *testing.T) { // [MQTT-3.1.0-1] [3.1.1 MQTT-3.1.0-1]
	each(t, func(w *world) {
		for _, p := range []*mqtt.Packet{
			{Type: mqtt.Pingreq},
			{Type: mqtt.Disconnect},
			publication("t", "x", 1),
			{Type: mqtt.Subscribe, ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "t"}}},
		} {
			c := w.dial()
			if p.QoS > 0 {
				p.ID = 1
			}
			c.send(p)
			c.closed() // without a packet, [MQTT-3.14.0-1]
		}
	})
}

func TestSecondConnect(t *testing.T) { // [MQTT-3.1.0-2] [3.1.1 MQTT-3.1.0-2]
	each(t, func(w *world) {
		c := w.connect("a")
		c.send(w.connecting("a", nil))
		c.closed(mqtt.ProtocolError)
	})
}

func TestProtocolName(t *testing.T) { // [MQTT-3.1.2-1] [3.1.1 MQTT-3.1.2-1]
	each(t, func(w *world) {
		for _, connect := range []string{
			"10 0b 0002 686a 04 02 003c 0001 61",
			"10 0d 0004 6d717474 04 02 003c 0001 61", // mqtt
			"10 0e 0004 6d717474 05 02 003c 00 0001 61",
			"10 0b 0000 04 02 003c 0003 616263",
		} {
			c := w.dial()
			c.raw(connect)
			c.decoder.Version = mqtt.V4
			if p := c.take(); p != nil && (p.Type != mqtt.Connack || !p.Reason.Failed() || c.take() != nil) {
				t.Errorf("%s: %v came: %+v", connect, p.Type, p)
			}
		}
	})
}

// TestProtocolLevel: the answer has the form of the version whose CONNECT the client's own has.
func TestProtocolLevel(t *testing.T) { // [MQTT-3.1.2-2] [3.1.1 MQTT-3.1.2-2]
	each(t, func(w *world) {
		for _, level := range []mqtt.Version{0, 1, 2, 6, 99, 127} {
			c := w.dial()
			b, err := mqtt.Append(nil, w.version, w.connecting("a", nil))
			if err != nil {
				t.Fatal(err)
			}
			b[8] = byte(level)
			c.write(b)
			c.refused(mqtt.UnsupportedProtocolVersion)
		}
	})
}

func TestOldProtocolName(t *testing.T) {
	eachWith(t, settings{}, func(w *world) { // MQIsdp
		c := w.connect("a")
		c.subscribe("t", 2)
		w.connect("b").publish("t", "x", 2)
		c.receives("x")
		c = w.dial()
		c.raw("10 0f 0006 4d5149736470 03 03 003c 0001 61") // with the flag that is reserved in later versions
		c.expect(mqtt.Connack)
	}, mqtt.V3)
}

// malformed CONNECTs, with a client identifier "a": of 3.1.1 and of 5.
var malformed = []struct{ what, v4, v5 string }{
	{"reserved flag", "10 0d 0004 4d515454 04 03 003c 0001 61", "10 0e 0004 4d515454 05 03 003c 00 0001 61"},
	{"flags of the fixed header", "11 0d 0004 4d515454 04 02 003c 0001 61", "11 0e 0004 4d515454 05 02 003c 00 0001 61"},
	{"will QoS without a will", "10 0d 0004 4d515454 04 0a 003c 0001 61", "10 0e 0004 4d515454 05 0a 003c 00 0001 61"},
	{"will QoS 3", "10 12 0004 4d515454 04 1e 003c 0001 61 0001 77 0000", "10 14 0004 4d515454 05 1e 003c 00 0001 61 00 0001 77 0000"},
	{"will retain without a will", "10 0d 0004 4d515454 04 22 003c 0001 61", "10 0e 0004 4d515454 05 22 003c 00 0001 61"},
	{"will flag without a will", "10 0d 0004 4d515454 04 06 003c 0001 61", "10 0e 0004 4d515454 05 06 003c 00 0001 61"},
	{"a will without its flag", "10 12 0004 4d515454 04 02 003c 0001 61 0001 77 0000", "10 14 0004 4d515454 05 02 003c 00 0001 61 00 0001 77 0000"},
	{"a user name without its flag", "10 10 0004 4d515454 04 02 003c 0001 61 0001 75", "10 11 0004 4d515454 05 02 003c 00 0001 61 0001 75"},
	{"user name flag without one", "10 0d 0004 4d515454 04 82 003c 0001 61", "10 0e 0004 4d515454 05 82 003c 00 0001 61"},
	{"password flag without one", "10 10 0004 4d515454 04 c2 003c 0001 61 0001 75", "10 11 0004 4d515454 05 c2 003c 00 0001 61 0001 75"},
	{"no client identifier at all", "10 0a 0004 4d515454 04 02 003c", "10 0b 0004 4d515454 05 02 003c 00"},
	{"client identifier not UTF-8", "10 0e 0004 4d515454 04 02 003c 0002 c328", "10 0f 0004 4d515454 05 02 003c 00 0002 c328"},
	{"client identifier with a surrogate", "10 0f 0004 4d515454 04 02 003c 0003 eda080", "10 10 0004 4d515454 05 02 003c 00 0003 eda080"},
	{"client identifier with U+0000", "10 0e 0004 4d515454 04 02 003c 0002 6100", "10 0f 0004 4d515454 05 02 003c 00 0002 6100"},
	{"will topic not UTF-8", "10 13 0004 4d515454 04 06 003c 0001 61 0002 c328 0000", "10 15 0004 4d515454 05 06 003c 00 0001 61 00 0002 c328 0000"},
	{"user name not UTF-8", "10 11 0004 4d515454 04 82 003c 0001 61 0002 c328", "10 12 0004 4d515454 05 82 003c 00 0001 61 0002 c328"},
	{"remaining length of five bytes", "10 8d80808000", "10 8d80808000"},
	{"a password without a user name", "10 10 0004 4d515454 04 42 003c 0001 61 0001 70", ""},
	{"a property twice", "", "10 18 0004 4d515454 05 02 003c 0a 11 00000001 11 00000001 0001 61"},
	{"receive maximum 0", "", "10 11 0004 4d515454 05 02 003c 03 21 0000 0001 61"},
	{"maximum packet size 0", "", "10 13 0004 4d515454 05 02 003c 05 27 00000000 0001 61"},
	{"request problem information 2", "", "10 10 0004 4d515454 05 02 003c 02 17 02 0001 61"},
	{"a property of another packet", "", "10 11 0004 4d515454 05 02 003c 03 23 0001 0001 61"},
	{"authentication data without a method", "", "10 12 0004 4d515454 05 02 003c 04 16 0001 78 0001 61"},
}

func TestMalformedConnect(t *testing.T) { // [MQTT-3.1.4-1] [3.1.1 MQTT-3.1.4-1]
	each(t, func(w *world) {
		for _, m := range malformed {
			packet := m.v4
			if w.version == mqtt.V5 {
				packet = m.v5
			}
			if packet == "" {
				continue
			}
			c := w.dial()
			c.raw(packet)
			p := c.take()
			if p != nil && w.version == mqtt.V5 && p.Type == mqtt.Connack && p.Reason.Failed() && !p.SessionPresent {
				p = c.take() // the gateway may say why
			}
			if p != nil {
				t.Errorf("%s: %v came: %+v", m.what, p.Type, p)
			}
		}
	})
}

func TestClientIDs(t *testing.T) { // [MQTT-3.1.3-5] [3.1.1 MQTT-3.1.3-5]
	each(t, func(w *world) {
		ids := []string{
			"0", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ",
			strings.Repeat("a", 100), "clean retained", "clean_retained", "clean:20retained", "x:clean:20retained",
			"é!;~«ä", "a/b+c#", "\ufeff", "x:", "$a",
		}
		for i, id := range ids { // each has a session of its own [MQTT-3.1.3-2]
			c, present := w.resume(id)
			if present {
				t.Errorf("%q has the session of one of %q", id, ids[:i])
			}
			c.disconnect()
		}
		for _, id := range ids {
			c, present := w.resume(id)
			if !present {
				t.Errorf("%q: the session is gone", id)
			}
			c.disconnect()
		}
	})
}

func TestLongClientID(t *testing.T) { // [MQTT-3.1.3-8] [3.1.1 MQTT-3.1.3-9]
	each(t, func(w *world) {
		c := w.dial()
		c.send(w.connecting(strings.Repeat("a", 1000), nil))
		c.refused(mqtt.ClientIDNotValid)
	})
}

func TestEmptyClientID(t *testing.T) { // [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16] [3.1.1 MQTT-3.1.3-6]
	each(t, func(w *world) {
		a, first := w.open("", nil)
		b, second := w.open("", nil)
		if x, y := first.Properties.AssignedClientID, second.Properties.AssignedClientID; w.version == mqtt.V5 && (x == "" || x == y) {
			t.Fatalf("assigned %q and %q", x, y)
		}
		a.subscribe("t", 1)
		b.publish("t", "both are there", 1)
		a.receives("both are there")
	})
}

func TestAssignedClientIDIsTheClients(t *testing.T) { // [MQTT-3.1.3-7]
	only(t, mqtt.V5, func(w *world) {
		c, ack := w.open("", kept)
		c.disconnect()
		if _, present := w.resume(ack.Properties.AssignedClientID); !present {
			t.Error("the identifier is not that of the session")
		}
	})
}

func TestEmptyClientIDToKeep(t *testing.T) { // [3.1.1 MQTT-3.1.3-7] [3.1.1 MQTT-3.1.3-8]
	only(t, mqtt.V4, func(w *world) {
		c := w.dial()
		c.raw("10 0c 0004 4d515454 04 00 003c 0000")
		c.refused(mqtt.ClientIDNotValid)
	})
}

// TestConnackIsFirst: a client need not wait for CONNACK.
func TestConnackIsFirst(t *testing.T) { // [MQTT-3.2.0-1] [MQTT-3.2.0-2] [3.1.1 MQTT-3.2.0-1]
	each(t, func(w *world) {
		c := w.dial()
		message := publication("t", "x", 1)
		message.ID = 2
		c.send(w.connecting("a", nil),
			&mqtt.Packet{Type: mqtt.Subscribe, ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "t"}}},
			message, &mqtt.Packet{Type: mqtt.Pingreq})
		c.expect(mqtt.Connack)
		c.answer(mqtt.Suback, 1)
		got := map[mqtt.Type]bool{}
		for range 3 {
			got[c.take().Type] = true
		}
		if !got[mqtt.Publish] || !got[mqtt.Puback] || !got[mqtt.Pingresp] {
			t.Errorf("%v came", got)
		}
	})
}

func TestNothingAfterARefusal(t *testing.T) { // [MQTT-3.1.4-6] [3.1.1 MQTT-3.1.4-5]
	each(t, func(w *world) {
		c := w.dial()
		message := publication("t", "x", 0)
		message.Retain = true
		c.send(w.connecting(strings.Repeat("a", 1000), nil), message, &mqtt.Packet{Type: mqtt.Pingreq})
		c.refused(mqtt.ClientIDNotValid)
		other := w.connect("a")
		other.subscribe("t", 0)
		other.quiet()
	})
}

func TestTakeover(t *testing.T) { // [MQTT-3.1.4-3] [3.1.1 MQTT-3.1.4-2]
	each(t, func(w *world) {
		older := w.connect("a")
		newer := w.connect("a")
		older.closed(mqtt.SessionTakenOver)
		newer.quiet()
	})
}

func TestUsernameAndPassword(t *testing.T) { // [MQTT-3.1.2-17] [MQTT-3.1.2-19] [3.1.1 MQTT-3.1.2-19] [3.1.1 MQTT-3.1.2-21]
	each(t, func(w *world) {
		w.open("a", func(p *mqtt.Packet) {
			p.Connect.HasUsername, p.Connect.Username = true, "u"
			p.Connect.HasPassword, p.Connect.Password = true, []byte{0, 0xff}
		})
	})
}

func TestPasswordAlone(t *testing.T) { // MQTT 5 §3.1.2.9
	only(t, mqtt.V5, func(w *world) {
		w.open("a", func(p *mqtt.Packet) { p.Connect.HasPassword, p.Connect.Password = true, []byte("p") })
	})
}

func TestAuthenticationMethod(t *testing.T) { // [MQTT-4.12.0-1] [MQTT-4.12.0-4]
	only(t, mqtt.V5, func(w *world) {
		c := w.dial()
		c.send(w.connecting("a", func(p *mqtt.Packet) { p.Properties.AuthMethod = "SCRAM-SHA-1" }))
		c.refused(mqtt.BadAuthenticationMethod)
	})
}

func TestReasonOfARefusalFits(t *testing.T) { // [MQTT-3.2.2-19] [MQTT-3.1.2-24]
	only(t, mqtt.V5, func(w *world) {
		c := w.dial()
		c.send(w.connecting("a", func(p *mqtt.Packet) {
			p.Properties.AuthMethod, p.Properties.MaximumPacket = "SCRAM-SHA-1", 10
		}))
		if p := c.refused(mqtt.BadAuthenticationMethod); p.Properties.ReasonString != "" {
			t.Errorf("CONNACK has %q, beyond 10 bytes", p.Properties.ReasonString)
		}
	})
}

func TestAuth(t *testing.T) { // [MQTT-4.12.0-6] [MQTT-4.12.0-7]
	only(t, mqtt.V5, func(w *world) {
		c, ack := w.open("a", nil)
		if ack.Properties.Has(mqtt.PropAuthMethod) {
			t.Error("CONNACK has an authentication method")
		}
		c.send(&mqtt.Packet{Type: mqtt.Auth, Reason: mqtt.ReAuthenticate, Properties: mqtt.Properties{AuthMethod: "x"}})
		c.closed(mqtt.ProtocolError)
		c = w.connect("a")
		c.raw("f1 00") // [MQTT-3.15.1-1]
		c.closed(mqtt.MalformedPacket)
	})
}

func TestResponseInformation(t *testing.T) { // [MQTT-3.1.2-28]
	only(t, mqtt.V5, func(w *world) {
		for _, asked := range []bool{false, true} {
			_, ack := w.open("a", func(p *mqtt.Packet) { p.Properties.RequestResponse = asked })
			if got := ack.Properties.Has(mqtt.PropResponseInfo); got && !asked {
				t.Errorf("CONNACK has response information %q that nobody asked for", ack.Properties.ResponseInfo)
			}
		}
	})
}

// TestAvailable: the gateway has all that a CONNACK may deny.
func TestAvailable(t *testing.T) { // [MQTT-3.2.2-9] and after
	only(t, mqtt.V5, func(w *world) {
		_, ack := w.open("a", func(p *mqtt.Packet) {
			p.Connect.HasWill, p.Connect.Will = true, mqtt.Will{Topic: "w", QoS: 2, Retain: true}
		})
		q := &ack.Properties
		for id, on := range map[mqtt.PropertyID]bool{
			mqtt.PropRetainAvailable:          q.RetainAvailable,
			mqtt.PropWildcardAvailable:        q.WildcardAvailable,
			mqtt.PropSubscriptionIDsAvailable: q.SubscriptionIDsAvailable,
			mqtt.PropSharedAvailable:          q.SharedAvailable,
			mqtt.PropMaximumQoS:               false, // a server with QoS 2 does not send it
		} {
			if q.Has(id) && !on {
				t.Errorf("CONNACK denies property %d", id)
			}
		}
	})
}
