package mqtt

import (
	"encoding/hex"
	"reflect"
	"strings"
	"testing"

	"github.com/longline/longline/internal/message"
)

// sample is a packet of one peer in one version, and its bytes.
type sample struct {
	name       string
	v          Version
	fromServer bool
	hex        string
	packet     Packet
}

// decoder returns the decoder of the peer that the sample's packet is sent to.
func (s *sample) decoder() *Decoder {
	d := &Decoder{Version: s.v, Server: !s.fromServer}
	if s.packet.Type == Connect {
		d.Version = 0
	}
	return d
}

const toClient, toServer = true, false

// samples follow the examples of the specifications where a section is named. They have
// at least one packet of each type in 3.1.1 and 5.
var samples = []sample{
	{"3.1.1 §3.1.2, CONNECT", V4, toServer, "10 1b 0004 4d515454 04 ce 000a 0002 6964 0001 77 0001 6d 0001 75 0002 7077",
		Packet{Type: Connect, Connect: Client{Version: V4, Clean: true, KeepAlive: 10, ClientID: "id",
			HasUsername: true, HasPassword: true, HasWill: true, Username: "u", Password: []byte("pw"),
			Will: Will{Topic: "w", Payload: []byte("m"), QoS: 1}}}},
	{"5 §3.1.2, CONNECT", V5, toServer, "10 22 0004 4d515454 05 ce 000a 05 11 0000000a 0002 6964 00 0001 77 0001 6d 0001 75 0002 7077",
		Packet{Type: Connect, Properties: Properties{SessionExpiry: 10}, Connect: Client{Version: V5, Clean: true, KeepAlive: 10, ClientID: "id",
			HasUsername: true, HasPassword: true, HasWill: true, Username: "u", Password: []byte("pw"),
			Will: Will{Topic: "w", Payload: []byte("m"), QoS: 1}}}},
	{"3.1 CONNECT", V3, toServer, "10 0f 0006 4d5149736470 03 00 003c 0001 61",
		Packet{Type: Connect, Connect: Client{Version: V3, KeepAlive: 60, ClientID: "a"}}},
	{"5 CONNECT with a password alone", V5, toServer, "10 10 0004 4d515454 05 40 0000 00 0000 0001 70",
		Packet{Type: Connect, Connect: Client{Version: V5, HasPassword: true, Password: []byte("p")}}},
	{"5 CONNECT with an empty retained will", V5, toServer, "10 18 0004 4d515454 05 34 0000 00 0000 05 18 00000007 0001 77 0000",
		Packet{Type: Connect, Connect: Client{Version: V5, HasWill: true,
			Will: Will{Topic: "w", QoS: 2, Retain: true, Properties: Properties{WillDelay: 7}}}}},

	{"3.1.1 CONNACK", V4, toClient, "20 02 01 00", Packet{Type: Connack, SessionPresent: true}},
	{"3.1.1 CONNACK, not authorised", V4, toClient, "20 02 00 05", Packet{Type: Connack, Reason: NotAuthorized}},
	{"5 CONNACK", V5, toClient, "20 06 00 00 03 21 0014", Packet{Type: Connack, Properties: Properties{ReceiveMaximum: 20}}},
	{"5 CONNACK, banned", V5, toClient, "20 03 00 8a 00", Packet{Type: Connack, Reason: Banned}},

	{"3.1.1 §3.3.2, PUBLISH", V4, toServer, "32 07 0003 612f62 000a", Packet{Type: Publish, Topic: "a/b", ID: 10, QoS: 1}},
	{"5 §3.3.2, PUBLISH", V5, toServer, "32 08 0003 612f62 000a 00", Packet{Type: Publish, Topic: "a/b", ID: 10, QoS: 1}},
	{"3.1.1 PUBLISH of QoS 0", V4, toClient, "31 06 0003 612f62 68", Packet{Type: Publish, Topic: "a/b", Retain: true, Payload: []byte("h")}},
	{"5 PUBLISH again, by alias", V5, toServer, "3c 09 0000 0001 03 23 0005 68",
		Packet{Type: Publish, Dup: true, QoS: 2, ID: 1, Payload: []byte("h"), Properties: Properties{TopicAlias: 5}}},
	{"5 PUBLISH for two subscriptions", V5, toClient, "30 0b 0001 61 05 0b 01 0b 8001 6869",
		Packet{Type: Publish, Topic: "a", Payload: []byte("hi"), Properties: Properties{SubscriptionIDs: []uint32{1, 128}}}},

	{"3.1.1 §3.4, PUBACK", V4, toServer, "40 02 000a", Packet{Type: Puback, ID: 10}},
	{"5 PUBACK", V5, toServer, "40 02 000a", Packet{Type: Puback, ID: 10}},
	{"5 PUBACK with a reason", V5, toClient, "40 03 000a 10", Packet{Type: Puback, ID: 10, Reason: NoMatchingSubscribers}},
	{"5 PUBREC with a reason and why", V5, toClient, "50 08 000a 97 04 1f 0001 66",
		Packet{Type: Pubrec, ID: 10, Reason: QuotaExceeded, Properties: Properties{ReasonString: "f"}}},
	{"3.1.1 PUBREC", V4, toClient, "50 02 000a", Packet{Type: Pubrec, ID: 10}},
	{"3.1.1 PUBREL", V4, toServer, "62 02 000a", Packet{Type: Pubrel, ID: 10}},
	{"5 PUBREL, not found", V5, toServer, "62 03 000a 92", Packet{Type: Pubrel, ID: 10, Reason: PacketIDNotFound}},
	{"3.1.1 PUBCOMP", V4, toClient, "70 02 000a", Packet{Type: Pubcomp, ID: 10}},
	{"5 PUBCOMP with a user property", V5, toClient, "70 0b 000a 00 07 26 0001 6b 0001 76",
		Packet{Type: Pubcomp, ID: 10, Properties: Properties{User: []message.Property{{Key: "k", Value: "v"}}}}},

	{"3.1.1 §3.8.3, SUBSCRIBE", V4, toServer, "82 0e 000a 0003 612f62 01 0003 632f64 02",
		Packet{Type: Subscribe, ID: 10, Subscriptions: []Subscription{{Filter: "a/b", QoS: 1}, {Filter: "c/d", QoS: 2}}}},
	{"5 §3.8.3, SUBSCRIBE", V5, toServer, "82 0f 000a 00 0003 612f62 01 0003 632f64 02",
		Packet{Type: Subscribe, ID: 10, Subscriptions: []Subscription{{Filter: "a/b", QoS: 1}, {Filter: "c/d", QoS: 2}}}},
	{"5 SUBSCRIBE with options", V5, toServer, "82 09 000a 02 0b 7f 0001 23 2d",
		Packet{Type: Subscribe, ID: 10, Properties: Properties{SubscriptionIDs: []uint32{127}},
			Subscriptions: []Subscription{{Filter: "#", QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}}}},
	{"3.1.1 §3.9.3, SUBACK", V4, toClient, "90 05 000a 00 02 80", Packet{Type: Suback, ID: 10, Codes: []Code{0, 2, UnspecifiedError}}},
	{"5 SUBACK", V5, toClient, "90 06 000a 00 01 02 8f", Packet{Type: Suback, ID: 10, Codes: []Code{1, 2, TopicFilterInvalid}}},

	{"3.1.1 §3.10.3, UNSUBSCRIBE", V4, toServer, "a2 0c 000a 0003 612f62 0003 632f64", Packet{Type: Unsubscribe, ID: 10, Filters: []string{"a/b", "c/d"}}},
	{"5 §3.10.3, UNSUBSCRIBE", V5, toServer, "a2 0d 000a 00 0003 612f62 0003 632f64", Packet{Type: Unsubscribe, ID: 10, Filters: []string{"a/b", "c/d"}}},
	{"3.1.1 UNSUBACK", V4, toClient, "b0 02 000a", Packet{Type: Unsuback, ID: 10}},
	{"5 UNSUBACK", V5, toClient, "b0 05 000a 00 00 11", Packet{Type: Unsuback, ID: 10, Codes: []Code{Success, NoSubscriptionExisted}}},

	{"PINGREQ", V4, toServer, "c0 00", Packet{Type: Pingreq}},
	{"PINGRESP", V4, toClient, "d0 00", Packet{Type: Pingresp}},
	{"3.1.1 DISCONNECT", V4, toServer, "e0 00", Packet{Type: Disconnect}},
	{"5 DISCONNECT", V5, toServer, "e0 00", Packet{Type: Disconnect}},
	{"5 DISCONNECT with will", V5, toServer, "e0 01 04", Packet{Type: Disconnect, Reason: DisconnectWithWill}},
	{"5 DISCONNECT, the session ends", V5, toServer, "e0 07 00 05 11 00000000",
		Packet{Type: Disconnect, Properties: Properties{present: PropSessionExpiry.bit()}}},
	{"5 DISCONNECT, use another server", V5, toClient, "e0 06 9c 04 1c 0001 62",
		Packet{Type: Disconnect, Reason: UseAnotherServer, Properties: Properties{ServerReference: "b"}}},
	{"5 AUTH", V5, toServer, "f0 06 18 04 15 0001 78", Packet{Type: Auth, Reason: ContinueAuthentication, Properties: Properties{AuthMethod: "x"}}},
	{"5 AUTH, success", V5, toClient, "f0 00", Packet{Type: Auth}},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// normal returns p with empty slices for nil and every property that is present marked.
func normal(p *Packet) Packet {
	n := *p
	n.Payload = append([]byte{}, p.Payload...)
	n.Codes = append([]Code{}, p.Codes...)
	n.Subscriptions = append([]Subscription{}, p.Subscriptions...)
	n.Filters = append([]string{}, p.Filters...)
	n.Properties = normalProperties(&p.Properties)
	n.Connect.Password = append([]byte{}, p.Connect.Password...)
	n.Connect.Will.Payload = append([]byte{}, p.Connect.Will.Payload...)
	n.Connect.Will.Properties = normalProperties(&p.Connect.Will.Properties)
	return n
}

func normalProperties(p *Properties) Properties {
	n := *p
	for id := range maxProperty + 1 {
		if p.Has(id) {
			n.Mark(id)
		}
	}
	n.CorrelationData = append([]byte{}, p.CorrelationData...)
	n.AuthData = append([]byte{}, p.AuthData...)
	n.SubscriptionIDs = append([]uint32{}, p.SubscriptionIDs...)
	n.User = append([]message.Property{}, p.User...)
	return n
}

func equal(a, b *Packet) bool { return reflect.DeepEqual(normal(a), normal(b)) }

func TestSamplesDecode(t *testing.T) {
	var p Packet // one for all: a packet must leave nothing for the next
	for _, s := range samples {
		b := unhex(t, s.hex)
		n, err := s.decoder().Decode(&p, append(b, "next"...))
		if err != nil || n != len(b) {
			t.Errorf("%s: %d of %d bytes, %v", s.name, n, len(b), err)
		} else if !equal(&p, &s.packet) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", s.name, &p, &s.packet)
		}
	}
}

func TestSamplesAppend(t *testing.T) {
	for _, s := range samples {
		got, err := Append([]byte("before"), s.v, &s.packet)
		if want := "before" + string(unhex(t, s.hex)); err != nil || string(got) != want {
			t.Errorf("%s: %v\ngot  %x\nwant %x", s.name, err, got, want)
		}
	}
}
