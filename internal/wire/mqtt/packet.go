package mqtt

import "github.com/longline/longline/internal/message"

// Packet is one control packet of any version. Which fields count depends on Type.
//
// A decoded packet is borrowed: its strings and slices are views of the buffer, valid until
// the next Decode into it or until the buffer is used again.
type Packet struct {
	Type Type

	// ID pairs a packet with its answer: PUBLISH of QoS 1 and 2, the acknowledgements of
	// PUBLISH, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK. Never 0.
	ID uint16

	// PUBLISH. Topic is empty where a topic alias stands for it.
	Dup, Retain bool
	QoS         message.QoS
	Topic       string
	Payload     []byte

	// Reason is that of CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT and AUTH. It is
	// always a code of MQTT 5: those of a 3.1.1 CONNACK are translated both ways.
	Reason Code

	// SessionPresent is the flag of a CONNACK; always false in 3.1.
	SessionPresent bool

	// Codes of a SUBACK, and in 5 of an UNSUBACK, one for each filter in its order.
	Codes []Code

	Subscriptions []Subscription // of SUBSCRIBE
	Filters       []string       // of UNSUBSCRIBE

	Connect Client // of CONNECT

	// Properties are MQTT 5's; before 5 there are none. Those that a type of packet may not
	// have are not written.
	Properties Properties
}

// Subscription is a filter of a SUBSCRIBE with its options. Before 5 there is only QoS.
type Subscription struct {
	Filter            string
	QoS               message.QoS
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    uint8 // 0 send retained messages, 1 if the subscription is new, 2 do not
}

// Client is what a CONNECT says about its sender.
type Client struct {
	// Version is set as soon as it is read, so that it says after an error which form of a
	// CONNACK the client may understand. It may then be a level that we do not know.
	Version Version

	Clean     bool   // clean start; before 5 also: forget the session at the end
	KeepAlive uint16 // seconds, 0 is without
	ClientID  string

	HasUsername, HasPassword, HasWill bool

	Username string
	Password []byte
	Will     Will
}

// Will is the message to publish for a client that goes without a goodbye.
type Will struct {
	Topic      string
	Payload    []byte
	QoS        message.QoS
	Retain     bool
	Properties Properties
}

// Reset empties p and keeps the room of its slices.
func (p *Packet) Reset() {
	codes, subscriptions, filters := p.Codes[:0], p.Subscriptions[:0], p.Filters[:0]
	ids, user, wills := p.Properties.SubscriptionIDs[:0], p.Properties.User[:0], p.Connect.Will.Properties.User[:0]
	*p = Packet{}
	p.Codes, p.Subscriptions, p.Filters = codes, subscriptions, filters
	p.Properties.SubscriptionIDs, p.Properties.User, p.Connect.Will.Properties.User = ids, user, wills
}
