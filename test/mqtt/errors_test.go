package mqtt

import (
	"testing"

	"github.com/longline/longline/internal/wire/mqtt"
)

// breaches are packets that end a connection, in 3.1.1 and in 5, with the reason code for 5.
var breaches = []struct {
	what, v4, v5 string
	code         mqtt.Code
}{
	{"packet type 0", "00 00", "00 00", mqtt.MalformedPacket},
	{"packet type 15", "f0 00", "", 0},
	{"CONNACK of a client", "20 02 0000", "20 03 000000", mqtt.ProtocolError},
	{"SUBACK of a client", "90 03 0001 00", "90 04 0001 00 00", mqtt.ProtocolError},
	{"UNSUBACK of a client", "b0 02 0001", "b0 04 0001 00 00", mqtt.ProtocolError},
	{"PINGRESP of a client", "d0 00", "d0 00", mqtt.ProtocolError},
	{"flags of PINGREQ", "c4 00", "c4 00", mqtt.MalformedPacket},
	{"flags of PUBACK", "41 02 0001", "41 02 0001", mqtt.MalformedPacket},
	{"flags of PUBREL", "60 02 0001", "60 02 0001", mqtt.MalformedPacket},
	{"flags of SUBSCRIBE", "80 06 0001 0001 74 00", "80 07 0001 00 0001 74 00", mqtt.MalformedPacket},
	{"flags of UNSUBSCRIBE", "a0 05 0001 0001 74", "a0 06 0001 00 0001 74", mqtt.MalformedPacket},
	{"flags of DISCONNECT", "e1 00", "e1 00", mqtt.MalformedPacket},
	{"QoS 3", "36 05 0001 74 0001", "36 06 0001 74 0001 00", mqtt.MalformedPacket},
	{"DUP with QoS 0", "38 03 0001 74", "38 04 0001 74 00", mqtt.MalformedPacket},
	{"PUBLISH with identifier 0", "32 05 0001 74 0000", "32 06 0001 74 0000 00", mqtt.ProtocolError},
	{"PUBLISH without an identifier", "32 03 0001 74", "32 03 0001 74", mqtt.MalformedPacket},
	{"PUBACK with identifier 0", "40 02 0000", "40 02 0000", mqtt.ProtocolError},
	{"SUBSCRIBE with identifier 0", "82 06 0000 0001 74 00", "82 07 0000 00 0001 74 00", mqtt.ProtocolError},
	{"SUBSCRIBE without an identifier", "82 04 0001 74 00", "82 05 00 0001 74 00", mqtt.ProtocolError}, // which means identifier 0
	{"UNSUBSCRIBE with identifier 0", "a2 05 0000 0001 74", "a2 06 0000 00 0001 74", mqtt.ProtocolError},
	{"a topic with #", "30 05 0003 742f23", "30 06 0003 742f23 00", mqtt.TopicNameInvalid},
	{"a topic with +", "30 05 0003 742f2b", "30 06 0003 742f2b 00", mqtt.TopicNameInvalid},
	{"an empty topic", "30 02 0000", "30 03 0000 00", mqtt.ProtocolError},
	{"a topic that is not UTF-8", "30 04 0002 c328", "30 05 0002 c328 00", mqtt.MalformedPacket},
	{"a topic with a surrogate", "30 05 0003 eda080", "30 06 0003 eda080 00", mqtt.MalformedPacket},
	{"a topic with U+0000", "30 05 0003 740074", "30 06 0003 740074 00", mqtt.MalformedPacket},
	{"a filter that is not UTF-8", "82 07 0001 0002 c328 00", "82 08 0001 00 0002 c328 00", mqtt.MalformedPacket},
	{"a filter with U+0000", "82 07 0001 0002 7400 00", "82 08 0001 00 0002 7400 00", mqtt.MalformedPacket},
	{"an empty filter", "82 05 0001 0000 00", "82 06 0001 00 0000 00", mqtt.ProtocolError},
	{"UNSUBSCRIBE, not UTF-8", "a2 06 0001 0002 c328", "a2 07 0001 00 0002 c328", mqtt.MalformedPacket},
	{"UNSUBSCRIBE, an empty filter", "a2 04 0001 0000", "a2 05 0001 00 0000", mqtt.ProtocolError},
	{"SUBSCRIBE without filters", "82 02 0001", "82 03 0001 00", mqtt.ProtocolError},
	{"UNSUBSCRIBE without filters", "a2 02 0001", "a2 03 0001 00", mqtt.ProtocolError},
	{"SUBSCRIBE of QoS 3", "82 06 0001 0001 74 03", "82 07 0001 00 0001 74 03", mqtt.ProtocolError},
	{"reserved bits of SUBSCRIBE", "82 06 0001 0001 74 80", "82 07 0001 00 0001 74 c0", mqtt.MalformedPacket},
	{"remaining length of five bytes", "30 8080808001", "30 8080808001", mqtt.MalformedPacket},
	{"a string beyond its packet", "30 03 0005 74", "30 03 0005 74", mqtt.MalformedPacket},
	{"bytes after the packet's end", "40 03 0001 00", "40 05 0001 00 00 00", mqtt.MalformedPacket},

	{"retain handling 3", "", "82 07 0001 00 0001 74 30", mqtt.ProtocolError},
	{"no local, shared", "", "82 10 0001 00 000a 2473686172652f672f74 04", mqtt.ProtocolError},
	{"subscription identifier 0", "", "82 09 0001 02 0b 00 0001 74 00", mqtt.ProtocolError},
	{"a client's subscription identifier", "", "30 06 0001 74 02 0b 01", mqtt.ProtocolError},
	{"a response topic with a wildcard", "", "30 0a 0001 74 06 08 0003 722f23", mqtt.ProtocolError},
	{"a response topic, not UTF-8", "", "30 09 0001 74 05 08 0002 c328", mqtt.MalformedPacket},
	{"a content type, not UTF-8", "", "30 09 0001 74 05 03 0002 c328", mqtt.MalformedPacket},
	{"a user property, not UTF-8", "", "30 0c 0001 74 08 26 0001 6b 0002 c328", mqtt.MalformedPacket},
	{"an unknown property", "", "30 06 0001 74 02 7f 00", mqtt.MalformedPacket},
	{"a property of another packet", "", "30 07 0001 74 03 21 0001", mqtt.MalformedPacket},
	{"a property twice", "", "30 08 0001 74 04 01 01 01 01", mqtt.ProtocolError},
	{"a length that is not the shortest", "", "30 05 0001 74 8000", mqtt.MalformedPacket},
	{"PUBACK with a reason of another packet", "", "40 04 0001 81 00", mqtt.ProtocolError},
	{"DISCONNECT with a reason of another packet", "", "e0 01 03", mqtt.ProtocolError},
	{"AUTH without a method", "", "f0 02 18 00", mqtt.ProtocolError},
}

func TestBreaches(t *testing.T) { // [MQTT-4.13.1-1] [MQTT-4.13.2-1] [3.1.1 MQTT-4.8.0-1]
	each(t, func(w *world) {
		for _, b := range breaches {
			packet := b.v4
			if w.version == mqtt.V5 {
				packet = b.v5
			}
			if packet == "" {
				continue
			}
			c := w.connect("a")
			c.raw(packet)
			c.send(&mqtt.Packet{Type: mqtt.Pingreq}) // gets no answer
			p := c.take()
			if w.version == mqtt.V5 {
				if p == nil || p.Type != mqtt.Disconnect || p.Reason != b.code {
					t.Errorf("%s: %+v came, want DISCONNECT with %v", b.what, p, b.code)
					continue
				}
				p = c.take()
			}
			if p != nil {
				t.Errorf("%s: %v came, want the end", b.what, p.Type)
			}
		}
	})
}

// TestNothingAfterDisconnect: the gateway does not read what follows a DISCONNECT.
func TestNothingAfterDisconnect(t *testing.T) { // [MQTT-3.14.4-1] [MQTT-3.14.4-2] [3.1.1 MQTT-3.14.4-1]
	each(t, func(w *world) {
		watcher := w.watcher()
		c := w.connect("a")
		c.send(&mqtt.Packet{Type: mqtt.Disconnect}, publication("w", "too late", 0), &mqtt.Packet{Type: mqtt.Pingreq})
		c.closed()
		watcher.quiet()
	})
}
