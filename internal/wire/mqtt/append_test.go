package mqtt

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/longline/longline/internal/message"
)

// everything returns all properties that a packet of type t may have, with the value v: 0 or 1.
func everything(t Type, v byte) (p Properties) {
	texts := []string{"", "text"}
	for _, id := range allowed[t] {
		p.Mark(id)
		switch property(id).kind {
		case kindBool:
			*p.boolean(id) = v == 1
		case kindQoS:
			p.MaximumQoS = message.QoS(v)
		case kindUint16:
			*p.uint16(id) = 0x102 * uint16(v)
		case kindUint32:
			*p.uint32(id) = 0x1020304 * uint32(v)
		case kindText:
			*p.text(id) = texts[v]
		case kindBinary:
			*p.binary(id) = []byte(texts[v])
		case kindIDs:
			p.SubscriptionIDs = []uint32{maxRemaining}
		case kindPair:
			p.User = []message.Property{{Key: "k", Value: texts[v]}, {Key: "k", Value: "again"}}
		}
	}
	return p
}

// TestProperties checks that each property of each packet survives a round trip, also with a value of 0 where
// that is legal.
func TestProperties(t *testing.T) {
	for _, s := range samples {
		if s.v != V5 {
			continue
		}
		for v := range byte(2) {
			p := s.packet
			p.Properties = everything(p.Type, v)
			if p.Connect.HasWill {
				p.Connect.Will.Properties = everything(inWill, v)
			}
			if v == 0 { // it may not be 0 or empty
				p.Properties.present &^= PropReceiveMaximum.bit() | PropMaximumPacket.bit() | PropTopicAlias.bit() | PropResponseTopic.bit()
				p.Connect.Will.Properties.present &^= PropResponseTopic.bit()
			}
			switch { // it depends on the sender
			case p.Type == Publish && !s.fromServer:
				p.Properties.SubscriptionIDs = nil
				p.Properties.present &^= PropSubscriptionID.bit()
				p.Topic = "t"
			case p.Type == Disconnect && s.fromServer:
				p.Properties.SessionExpiry = 0
				p.Properties.present &^= PropSessionExpiry.bit()
			}
			checkRoundTrip(t, s.decoder(), V5, &p)
		}
	}
}

// checkRoundTrip checks that d reads what Append makes of p as p.
func checkRoundTrip(t *testing.T, d *Decoder, v Version, p *Packet) {
	t.Helper()
	b, err := Append(nil, v, p)
	if err != nil {
		t.Fatalf("%v of %+v", err, p)
	}
	var back Packet
	if n, err := d.Decode(&back, b); err != nil || n != len(b) {
		t.Fatalf("%x: %d of %d bytes, %v", b, n, len(b), err)
	}
	if !equal(&back, p) {
		t.Fatalf("%x:\ngot  %+v\nwant %+v", b, normal(&back), normal(p))
	}
}

// TestLengths checks the limits of the variable byte integers, §1.5.5.
func TestLengths(t *testing.T) {
	for _, n := range []int{127, 128, 16_383, 16_384, 2_097_151, 2_097_152} {
		for _, v := range []Version{V4, V5} {
			head := len("\x00\x01t\x00")
			p := Packet{Type: Publish, Topic: "t", Payload: bytes.Repeat([]byte{'x'}, n-head+int(V5-v))}
			checkRoundTrip(t, &Decoder{Version: v, Server: true}, v, &p)
		}
	}
	p := Packet{Type: Publish, Topic: "t", Properties: Properties{User: []message.Property{{Key: "k", Value: strings.Repeat("v", 200)}}}}
	checkRoundTrip(t, &Decoder{Version: V5, Server: true}, V5, &p)
}

func TestAppendRefuses(t *testing.T) {
	long := strings.Repeat("x", 65_536)
	for _, tt := range []struct {
		rule *Error
		v    Version
		p    Packet
	}{
		{ErrReservedType, V5, Packet{}},
		{ErrReservedType, V5, Packet{Type: 16}},
		{ErrSender, V4, Packet{Type: Auth}},
		{ErrProtocolLevel, 0, Packet{Type: Connect}},
		{ErrTooLong, V4, Packet{Type: Publish, Topic: long}},
		{ErrTooLong, V4, Packet{Type: Connect, Connect: Client{HasPassword: true, Password: []byte(long)}}},
		{ErrTooLong, V5, Packet{Type: Puback, ID: 1, Properties: Properties{ReasonString: long}}},
		{ErrUTF8, V4, Packet{Type: Publish, Topic: "\xff"}},
		{ErrNull, V5, Packet{Type: Publish, Topic: "t", Properties: Properties{ContentType: "\x00"}}},
		{ErrTooLarge, V4, Packet{Type: Publish, Topic: "t", Payload: make([]byte, maxRemaining-2)}},
		{ErrQoS, V4, Packet{Type: Publish, Topic: "t", QoS: 3, ID: 1}},
		{ErrDup, V4, Packet{Type: Publish, Topic: "t", Dup: true}},
		{ErrPacketID, V4, Packet{Type: Publish, Topic: "t", QoS: 1}},
		{ErrPacketID, V4, Packet{Type: Subscribe}},
		{ErrWillQoS3, V4, Packet{Type: Connect, Connect: Client{HasWill: true, Will: Will{QoS: 3}}}},
		{ErrSubscriptionQoS, V4, Packet{Type: Subscribe, ID: 1, Subscriptions: []Subscription{{QoS: 3}}}},
		{ErrRetainHandling, V5, Packet{Type: Subscribe, ID: 1, Subscriptions: []Subscription{{RetainHandling: 3}}}},
		{ErrVarint, V5, Packet{Type: Publish, Topic: "t", Properties: Properties{SubscriptionIDs: []uint32{1 << 28}}}},
		{ErrPropertyBool, V5, Packet{Type: Connack, Properties: Properties{MaximumQoS: 2}}},
	} {
		got, err := Append([]byte("before"), tt.v, &tt.p)
		if !errors.Is(err, tt.rule) || string(got) != "before" {
			t.Errorf("%v: %v, want %v; %d bytes", tt.p.Type, err, tt.rule, len(got))
		}
	}
}

// TestIDOffset patches identifiers into a frame that many receivers share.
func TestIDOffset(t *testing.T) {
	for _, payload := range []int{0, 200, 20_000} {
		for _, v := range []Version{V4, V5} {
			p := Packet{Type: Publish, Topic: "a/b", QoS: 1, ID: 1, Payload: make([]byte, payload)}
			b, err := Append(nil, v, &p)
			if err != nil {
				t.Fatal(err)
			}
			at := IDOffset(b)
			b[at], b[at+1] = 0x12, 0x34
			var got Packet
			if _, err := (&Decoder{Version: v}).Decode(&got, b); err != nil || got.ID != 0x1234 || got.Topic != "a/b" {
				t.Errorf("%d bytes in %d: %+v, %v", payload, v, &got, err)
			}
		}
	}
	if b, _ := Append(nil, V4, &Packet{Type: Publish, Topic: "a"}); IDOffset(b) != 0 {
		t.Error("QoS 0 has an identifier")
	}
}

func TestNoAllocation(t *testing.T) {
	user := []message.Property{{Key: "k", Value: "v"}}
	for _, p := range []Packet{
		{Type: Publish, Topic: "device/1/up", QoS: 1, ID: 7, Payload: make([]byte, 500), Properties: Properties{User: user, MessageExpiry: 9}},
		{Type: Puback, ID: 7},
		{Type: Pingreq},
		{Type: Subscribe, ID: 7, Subscriptions: []Subscription{{Filter: "a"}, {Filter: "b"}}},
		{Type: Unsubscribe, ID: 7, Filters: []string{"a", "b"}},
	} {
		d := Decoder{Version: V5, Server: true}
		var into Packet
		buf, _ := Append(nil, V5, &p)
		buf = append(buf, 0, 0, 0, 0)
		n := testing.AllocsPerRun(100, func() {
			b, err := Append(buf[:0], V5, &p)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Decode(&into, b); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%v: %v allocations", p.Type, n)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	p := Packet{Type: Publish, Topic: "device/1/up", QoS: 1, ID: 7, Payload: make([]byte, 128)}
	for _, v := range []Version{V4, V5} {
		frame, _ := Append(nil, v, &p)
		b.Run("decode/"+string('0'+rune(v)), func(b *testing.B) {
			d, into := Decoder{Version: v, Server: true}, Packet{}
			for b.Loop() {
				_, _ = d.Decode(&into, frame)
			}
		})
		b.Run("append/"+string('0'+rune(v)), func(b *testing.B) {
			for b.Loop() {
				frame, _ = Append(frame[:0], v, &p)
			}
		})
	}
}
