package mqtt

import "github.com/longline/longline/internal/message"

// Packet is one control packet of any version. Type decides which fields count.
//
// A decoded packet is borrowed: its strings and slices are views of the buffer, valid until
// the next Decode into it or until the buffer is used again.
type Packet struct {
	Type Type

	// ID pairs a packet with its answer: PUBLISH of QoS 1 and 2, the acknowledgements of
	// PUBLISH, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK. Never 0.
	ID uint16

	// PUBLISH. Topic is empty where a topic alias replaces it.
	Dup, Retain bool
	QoS         message.QoS
	Topic       string
	Payload     []byte

	// Reason belongs to CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT and AUTH. It is
	// always a code of MQTT 5: the codes of a 3.1.1 CONNACK are translated in both directions.
	Reason Code

	// SessionPresent is the flag of a CONNACK; always false in 3.1.
	SessionPresent bool

	// Codes belong to a SUBACK, and in 5 to an UNSUBACK: one per filter, in the order of the filters.
	Codes []Code

	Subscriptions []Subscription // of SUBSCRIBE
	Filters       []string       // of UNSUBSCRIBE

	Connect Client // of CONNECT

	// Properties exist only in MQTT 5. Append leaves out those that the type of packet may not
	// have.
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

// Client is what a CONNECT states about its sender.
type Client struct {
	// Version is set as soon as it is read, so that after an error the caller knows which form of
	// CONNACK the client may understand. It may then be an unknown level.
	Version Version

	Clean     bool   // clean start; before 5 it also ends the session with the connection
	KeepAlive uint16 // seconds, 0 means off
	ClientID  string

	HasUsername, HasPassword, HasWill bool

	Username string
	Password []byte
	Will     Will
}

// Will is the message to publish for a client whose connection ends without a DISCONNECT.
type Will struct {
	Topic      string
	Payload    []byte
	QoS        message.QoS
	Retain     bool
	Properties Properties
}

// Reset empties p and keeps the capacity of its slices.
func (p *Packet) Reset() {
	codes, subscriptions, filters := p.Codes[:0], p.Subscriptions[:0], p.Filters[:0]
	ids, user, wills := p.Properties.SubscriptionIDs[:0], p.Properties.User[:0], p.Connect.Will.Properties.User[:0]
	*p = Packet{}
	p.Codes, p.Subscriptions, p.Filters = codes, subscriptions, filters
	p.Properties.SubscriptionIDs, p.Properties.User, p.Connect.Will.Properties.User = ids, user, wills
}
