package mqtt

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// breach is a packet of a peer that breaks a rule.
type breach struct {
	rule       *Error
	v          Version // 0: the CONNECT is expected
	fromServer bool
	hex        string
}

// early has breaches of the fixed header, which must be found before the rest of the packet arrives.
var early = []breach{
	{ErrReservedType, V5, toServer, "00"},
	{ErrReservedType, 0, toServer, "0f"},
	{ErrSender, V5, toServer, "20"},
	{ErrSender, V5, toServer, "90"},
	{ErrSender, V5, toServer, "b0"},
	{ErrSender, V4, toServer, "d0"},
	{ErrSender, V4, toServer, "f0"},
	{ErrSender, V5, toClient, "10"},
	{ErrSender, V5, toClient, "82"},
	{ErrSender, V5, toClient, "a2"},
	{ErrSender, V5, toClient, "c0"},
	{ErrSender, V4, toClient, "e0"},
	{ErrNotConnect, 0, toServer, "c0"},
	{ErrSecondConnect, V4, toServer, "10"},
	{ErrFlags, V4, toServer, "42"},
	{ErrFlags, V3, toServer, "c8"},
	{ErrPubrelFlags, V4, toServer, "60"},
	{ErrPubrelFlags, V4, toServer, "6a"}, // legal in 3.1 only
	{ErrSubscribeFlags, V5, toServer, "80"},
	{ErrUnsubscribeFlags, V5, toServer, "a3"},
	{ErrDisconnectFlags, V4, toServer, "e1"},
	{ErrAuthFlags, V5, toServer, "f1"},
	{ErrDup, V4, toServer, "38"},
	{ErrQoS, V5, toServer, "36"},
	{ErrLength, 0, toServer, "10 ffffffff"},
	{ErrLength, V4, toServer, "30 80808080"},
	{ErrVarint, V5, toServer, "30 8000"},
	{ErrTooLarge, V5, toServer, "30 ff7f"}, // of a decoder with a limit of 1,000
}

// late has a breach of every other rule that decoding checks.
var late = []breach{
	{ErrTruncated, V5, toServer, "30 03 0005 61"},
	{ErrTruncated, V5, toServer, "32 03 0001 61"},
	{ErrTruncated, V5, toServer, "30 03 0001 61"}, // no property length
	{ErrTruncated, V5, toServer, "30 04 0001 61 80"},
	{ErrTruncated, V5, toServer, "30 05 0001 61 01 01"},
	{ErrTruncated, V4, toServer, "82 05 0001 0001 61"},
	{ErrTruncated, 0, toServer, "10 00"},
	{ErrTruncated, 0, toServer, "10 0e 0004 4d515454 04 82 0000 0002 6964"}, // a user name flag without one
	{ErrTrailing, V4, toServer, "40 03 0001 00"},
	{ErrTrailing, V4, toServer, "c0 01 00"},
	{ErrTrailing, V4, toServer, "e0 01 00"},
	{ErrTrailing, V4, toClient, "b0 03 0001 00"},
	{ErrTrailing, V5, toServer, "40 05 0001 00 00 00"},
	{ErrTrailing, 0, toServer, "10 0e 0004 4d515454 04 02 0000 0001 61 00"},
	{ErrUTF8, V4, toServer, "30 03 0001 ff"},
	{ErrUTF8, V4, toServer, "30 05 0003 eda080"}, // U+D800
	{ErrUTF8, V4, toServer, "30 04 0002 c080"},   // U+0000, too long
	{ErrUTF8, V5, toServer, "30 0b 0001 61 07 26 0001 6b 0001 ff"},
	{ErrNull, V4, toServer, "30 03 0001 00"},
	{ErrNull, 0, toServer, "10 10 0004 4d515454 05 82 0000 00 0000 0001 00"},
	{ErrVarint, V5, toServer, "30 05 0001 61 8000"},
	{ErrVarint, V5, toServer, "82 0a 0001 03 0b 8100 0001 61 00"},
	{ErrVarint, 0, toServer, "10 8d00 0004 4d515454 05 02 0000 00 0000"},
	{ErrPacketID, V4, toServer, "32 05 0001 61 0000"},
	{ErrPacketID, V4, toServer, "40 02 0000"},
	{ErrPacketID, V5, toServer, "82 07 0000 00 0001 61 00"},
	{ErrPacketID, V5, toServer, "a2 06 0000 00 0001 61"},

	{ErrFlags, 0, toServer, "11 0d 0004 4d515454 04 02 0000 0001 61"},
	{ErrFlags, 0, toServer, "18 0e 0004 4d515454 05 02 0000 00 0001 61"},

	{ErrProtocolName, 0, toServer, "10 0d 0004 6d717474 04 02 0000 0001 61"},
	{ErrProtocolLevel, 0, toServer, "10 0d 0004 4d515454 06 02 0000 0001 61"},
	{ErrProtocolLevel, 0, toServer, "10 0d 0004 4d515454 03 02 0000 0001 61"},
	{ErrProtocolLevel, 0, toServer, "10 0f 0006 4d5149736470 04 02 0000 0001 61"},
	{ErrConnectFlag, 0, toServer, "10 0d 0004 4d515454 04 03 0000 0001 61"},
	{ErrWillQoS, 0, toServer, "10 0d 0004 4d515454 04 0a 0000 0001 61"},
	{ErrWillQoS3, 0, toServer, "10 12 0004 4d515454 04 1e 0000 0001 61 0001 77 0000"},
	{ErrWillRetain, 0, toServer, "10 0d 0004 4d515454 04 22 0000 0001 61"},
	{ErrPasswordAlone, 0, toServer, "10 10 0004 4d515454 04 42 0000 0001 61 0001 70"},
	{ErrNoClientID, 0, toServer, "10 0c 0004 4d515454 04 00 0000 0000"},
	{ErrNoClientID, 0, toServer, "10 0e 0006 4d5149736470 03 02 0000 0000"},
	{ErrEmptyTopic, 0, toServer, "10 11 0004 4d515454 04 06 0000 0001 61 0000 0000"},
	{ErrTopicWildcard, 0, toServer, "10 12 0004 4d515454 04 06 0000 0001 61 0001 23 0000"},
	{ErrConnackFlags, V4, toClient, "20 02 02 00"},
	{ErrSessionOfRefused, V5, toClient, "20 03 01 87 00"},
	{ErrSessionOfRefused, V4, toClient, "20 02 01 01"},

	{ErrNoTopic, V5, toServer, "30 03 0000 00"},
	{ErrEmptyTopic, V4, toServer, "30 02 0000"},
	{ErrTopicWildcard, V5, toServer, "30 06 0003 612f23 00"},
	{ErrTopicWildcard, V4, toClient, "30 03 0001 2b"},
	{ErrTopicAlias, V5, toServer, "30 07 0001 61 03 23 0000"},
	{ErrResponseTopic, V5, toServer, "30 08 0001 61 04 08 0001 2b"},
	{ErrEmptyTopic, V5, toServer, "30 07 0001 61 03 08 0000"},

	{ErrNoSubscription, V4, toServer, "82 02 0001"},
	{ErrNoSubscription, V5, toServer, "82 03 0001 00"},
	{ErrEmptyFilter, V4, toServer, "82 05 0001 0000 00"},
	{ErrEmptyFilter, V4, toServer, "a2 04 0001 0000"},
	{ErrFilter, V5, toServer, "82 08 0001 00 0002 6123 00"},
	{ErrFilter, V4, toServer, "a2 07 0001 0003 232f61"},
	{ErrFilter, V4, toServer, "82 0d 0001 0008 2473686172652f2f 00"},
	{ErrSubscriptionQoS, V5, toServer, "82 07 0001 00 0001 61 03"},
	{ErrSubscriptionQoSV3, V4, toServer, "82 06 0001 0001 61 03"},
	{ErrSubscriptionQoSV3, V4, toServer, "82 06 0001 0001 61 04"},
	{ErrRetainHandling, V5, toServer, "82 07 0001 00 0001 61 30"},
	{ErrSharedNoLocal, V5, toServer, "82 10 0001 00 000a 2473686172652f672f61 04"},
	{ErrSubscriptionOption, V5, toServer, "82 07 0001 00 0001 61 40"},
	{ErrSubscriptionOption, V5, toServer, "82 07 0001 00 0001 61 80"},
	{ErrNoFilter, V4, toServer, "a2 02 0001"},
	{ErrNoCode, V4, toClient, "90 02 0001"},
	{ErrNoCode, V5, toClient, "b0 03 0001 00"},

	{ErrUnknownProperty, V5, toServer, "30 06 0001 61 02 04 00"},
	{ErrUnknownProperty, V5, toServer, "30 06 0001 61 02 ab 01"},
	{ErrPropertyPlace, V5, toServer, "30 08 0001 61 04 1f 0001 66"},
	{ErrPropertyPlace, 0, toServer, "10 12 0004 4d515454 05 02 0000 05 18 00000001 0000"},
	{ErrPropertyPlace, 0, toServer, "10 18 0004 4d515454 05 06 0000 00 0000 05 11 00000001 0001 77 0000"},
	{ErrPropertyTwice, V5, toServer, "30 08 0001 61 04 01 01 01 01"},
	{ErrPropertyTwice, V5, toServer, "82 0b 0001 04 0b 01 0b 02 0001 61 00"},
	{ErrPropertyBool, V5, toServer, "30 06 0001 61 02 01 02"},
	{ErrPropertyBool, V5, toClient, "20 05 00 00 02 24 02"},
	{ErrReceiveMaximum, 0, toServer, "10 10 0004 4d515454 05 02 0000 03 21 0000 0000"},
	{ErrMaximumPacket, V5, toClient, "20 08 00 00 05 27 00000000"},
	{ErrAuthData, 0, toServer, "10 11 0004 4d515454 05 02 0000 04 16 0001 78 0000"},
	{ErrAuthMethod, V5, toServer, "f0 02 18 00"},
	{ErrAuthMethod, V5, toServer, "f0 01 19"},
	{ErrSubscriptionID, V5, toServer, "82 09 0001 02 0b 00 0001 61 00"},
	{ErrClientsID, V5, toServer, "30 06 0001 61 02 0b 01"},
	{ErrServersExpiry, V5, toClient, "e0 07 00 05 11 00000001"},
	{ErrPropertiesTooLong, V5, toServer, "30 05 0001 61 02 01"},

	{ErrConnackCode, V5, toClient, "20 03 00 10 00"},
	{ErrConnackCode, V4, toClient, "20 02 00 06"},
	{ErrPubackCode, V5, toServer, "40 03 0001 11"},
	{ErrPubackCode, V5, toClient, "40 03 0001 92"},
	{ErrPubrecCode, V5, toClient, "50 03 0001 81"},
	{ErrPubrelCode, V5, toServer, "62 03 0001 80"},
	{ErrPubcompCode, V5, toClient, "70 03 0001 10"},
	{ErrSubackCode, V5, toClient, "90 04 0001 00 03"},
	{ErrSubackCode, V4, toClient, "90 03 0001 87"},
	{ErrUnsubackCode, V5, toClient, "b0 04 0001 00 01"},
	{ErrDisconnectCode, V5, toServer, "e0 01 8e"}, // only servers say "session taken over"
	{ErrDisconnectCode, V5, toClient, "e0 01 04"},
	{ErrAuthCode, V5, toServer, "f0 00"},
	{ErrAuthCode, V5, toClient, "f0 06 19 04 15 0001 78"},
}

func (b *breach) decoder() *Decoder {
	return &Decoder{Version: b.v, Server: !b.fromServer, MaxPacket: 1000}
}

func TestBreaches(t *testing.T) {
	shown := map[*Error]bool{ErrTooLong: true} // only Append can find it
	for _, b := range slices.Concat(early, late) {
		shown[b.rule] = true
		n, err := b.decoder().Decode(new(Packet), unhex(t, b.hex))
		if !errors.Is(err, b.rule) || n != 0 {
			t.Errorf("%d %s: got %v, want %v", b.v, b.hex, err, b.rule)
		}
	}
	for _, r := range Rules() {
		if !shown[r] {
			t.Errorf("nothing breaks the rule %v", r)
		}
	}
}

func TestSize(t *testing.T) {
	for _, b := range early {
		if _, err := b.decoder().Size(unhex(t, b.hex)); !errors.Is(err, b.rule) {
			t.Errorf("%d %s: got %v, want %v", b.v, b.hex, err, b.rule)
		}
	}
	for _, b := range late {
		bytes := unhex(t, b.hex)
		if n, err := b.decoder().Size(bytes); err != nil || n != len(bytes) {
			t.Errorf("%d %s: size %d, %v", b.v, b.hex, n, err)
		}
	}
	d := Decoder{Version: V4, Server: true, MaxPacket: 130}
	for hex, want := range map[string]int{"": 0, "30": 0, "30 80": 0, "30 7f": 129, "30 7f 00": 129} {
		if n, err := d.Size(unhex(t, hex)); n != want || err != nil {
			t.Errorf("%q: size %d, %v; want %d", hex, n, err, want)
		}
	}
	if _, err := d.Size(unhex(t, "30 8001")); !errors.Is(err, ErrTooLarge) { // 131 with its header
		t.Errorf("one byte more than the limit: %v", err)
	}
}

// TestRules checks that each rule differs from the others and can be sent to a peer.
func TestRules(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range Rules() {
		if seen[r.Reason] {
			t.Errorf("two rules say %q", r.Reason)
		}
		seen[r.Reason] = true
		if !r.Code.Failed() || !r.Code.legal(Connack, true) && !r.Code.legal(Disconnect, true) {
			t.Errorf("%v: code %v cannot be told", r, r.Code)
		}
		if !strings.Contains(r.Rule, "MQTT") || len(r.Reason) > 100 {
			t.Errorf("%v: a mark or a reason that is not one", r)
		}
	}
}

// TestVersionOfRefused checks that after a refused CONNECT the version is known, for the CONNACK.
func TestVersionOfRefused(t *testing.T) {
	for _, tt := range []struct {
		hex  string
		want Version
	}{
		{"10 0d 0004 4d515454 04 03 0000 0001 61", V4},
		{"10 0d 0004 4d515454 05 03 0000 00 0000", V5},
		{"10 0d 0004 4d515454 06 02 0000 0001 61", 6},
		{"10 0d 0004 6d717474 04 02 0000 0001 61", 0},
		{"31", 0},
	} {
		p := Packet{Connect: Client{Version: V5}}
		if _, err := (&Decoder{Server: true}).Decode(&p, unhex(t, tt.hex)); err == nil || p.Connect.Version != tt.want {
			t.Errorf("%s: version %d, want %d; %v", tt.hex, p.Connect.Version, tt.want, err)
		}
	}
}

// TestLenient has packets that must be accepted although they look wrong.
func TestLenient(t *testing.T) {
	for what, tt := range map[string]breach{
		"3.1: DUP on PUBREL":                      {nil, V3, toServer, "6a 02 0001"},
		"3.1.1: a length with a spare byte":       {nil, V4, toServer, "40 8200 0001"},
		"3.1.1: no client id, no session":         {nil, 0, toServer, "10 0c 0004 4d515454 04 02 0000 0000"},
		"U+FEFF is a character [MQTT-1.5.4-3]":    {nil, V4, toServer, "30 05 0003 efbbbf"},
		"3.1: the first byte of CONNACK":          {nil, V3, toClient, "20 02 ff 00"},
		"5: an empty password":                    {nil, 0, toServer, "10 0f 0004 4d515454 05 42 0000 00 0000 0000"},
		"5: properties of length 0 after Success": {nil, V5, toServer, "40 04 0001 00 00"},
		"a filter of many levels":                 {nil, V5, toServer, "82 1a 0001 00 0014 2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f 00"},
		"3.1: flags that CONNECT does not use":    {nil, 0, toServer, "1f 0f 0006 4d5149736470 03 02 0000 0001 61"},
		"5: a client's 0x10 in PUBACK":            {nil, V5, toServer, "40 03 0001 10"},
	} {
		b := unhex(t, tt.hex)
		d := Decoder{Version: tt.v, Server: !tt.fromServer}
		if n, err := d.Decode(new(Packet), b); err != nil || n != len(b) {
			t.Errorf("%s: %d of %d bytes, %v", what, n, len(b), err)
		}
	}
}
