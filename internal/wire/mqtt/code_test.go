package mqtt

import (
	"slices"
	"testing"
)

// legal lists the reason codes of a type of packet and sender, as in the table beside the packet,
// §3.2.2.2, §3.4.2.1 to §3.7.2.1, §3.9.3, §3.11.3, §3.14.2.1, §3.15.2.1. Only table 2-6 says that a
// server's DISCONNECT may have 0x8C; no table says that a client's PUBACK or PUBREC may have 0x10.
var legal = []struct {
	t              Type
	server, client []Code
}{
	{Connack, []Code{0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F}, nil},
	{Puback, []Code{0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}, []Code{0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}},
	{Pubrec, []Code{0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}, []Code{0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}},
	{Pubrel, []Code{0, 0x92}, []Code{0, 0x92}},
	{Pubcomp, []Code{0, 0x92}, []Code{0, 0x92}},
	{Suback, []Code{0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2}, nil},
	{Unsuback, []Code{0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91}, nil},
	{Disconnect,
		[]Code{0, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2},
		[]Code{0, 4, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99}},
	{Auth, []Code{0, 0x18}, []Code{0x18, 0x19}},
}

func TestLegalCodes(t *testing.T) {
	for _, row := range legal {
		for c := range Code(0xFF) {
			if got, want := c.legal(row.t, true), slices.Contains(row.server, c); got != want {
				t.Errorf("%v from a server in %v: %v, want %v", c, row.t, got, want)
			}
			if got, want := c.legal(row.t, false), slices.Contains(row.client, c); got != want {
				t.Errorf("%v from a client in %v: %v, want %v", c, row.t, got, want)
			}
		}
	}
}

func TestCodesOfV3(t *testing.T) {
	for code, want := range map[Code]byte{
		Success: 0, UnsupportedProtocolVersion: 1, ClientIDNotValid: 2, ServerUnavailable: 3, ServerBusy: 3,
		BadUsernameOrPassword: 4, NotAuthorized: 5, Banned: 5,
	} {
		if got := code.ConnackV3(); got != want {
			t.Errorf("%v is %d in a CONNACK, want %d", code, got, want)
		}
	}
	for code, want := range map[Code]byte{Success: 0, GrantedQoS2: 2, NotAuthorized: 0x80, QuotaExceeded: 0x80} {
		if got := code.SubackV3(); got != want {
			t.Errorf("%v is %#x in a SUBACK, want %#x", code, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		NotAuthorized.String(): "not authorized",
		Code(0x77).String():    "reason code 0x77",
		Pubrel.String():        "PUBREL",
		Type(0).String():       "reserved packet type",
		Type(99).String():      "reserved packet type",
		ErrDup.Error():         "mqtt: DUP on a PUBLISH of QoS 0 [MQTT-3.3.1-2]",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
