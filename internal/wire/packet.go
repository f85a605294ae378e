// Package wire implements the device protocols as codecs, between the bytes of one WebSocket message and
// one Packet. It does no I/O and keeps no state of a connection.
//
// The flow: the gateway greets with hello. The device publishes (pub, answered by ack if
// its QoS is 1), subscribes and unsubscribes (sub, unsub, each answered by ack), acknowledges the QoS 1 messages that
// it gets (msg, answered by ack), answers calls and calls services itself (call, answered by reply). Before its
// credential expires it presents another (refresh, answered by ack).
package wire

import (
	"time"

	"github.com/longline/longline/internal/message"
)

// Op names a packet.
type Op uint8

const (
	Hello   Op = iota + 1 // gateway to device, once, first
	Pub                   // device to gateway
	Ack                   // both ways
	Sub                   // device to gateway
	Unsub                 // device to gateway
	Msg                   // gateway to device
	Call                  // both ways; a device's has a service
	Reply                 // both ways
	Refresh               // device to gateway

	Ops = iota + 1 // number of ops plus one: the size of a table by op
)

// MaxID is the largest id of a packet: a JSON number holds it exactly.
const MaxID = 1<<53 - 1

// Packet is one packet of any device protocol. Op decides which fields count.
//
// A decoded packet is borrowed: its strings and slices are views of the frame, valid
// until the next Decode into it or until the frame's buffer is used again.
type Packet struct {
	Op Op

	// ID pairs a packet with its answer: pub (QoS 1), ack, sub, unsub, msg (QoS 1), call,
	// reply, refresh. 1 to MaxID; 0 is absent.
	ID uint64

	// Message is the message of a pub or msg. In a pub, Source, Time and ID are not set.
	Message message.Message

	// Again says that the sender repeats an earlier packet, which the receiver may have got: a pub of MQTT with DUP, or a
	// call that was sent on another connection before.
	Again bool

	// Waits says that a caller waits for the reply to a call, and may leave; nobody does for a command. It is not encoded.
	Waits bool

	// Expiry is how long the message of a pub may wait for its receivers; 0 is for ever.
	Expiry time.Duration

	// Filters, QoS and Conflate belong to a sub; Filters also to an unsub. Only MQTT has
	// QoS 2.
	Filters  []string
	QoS      message.QoS
	Conflate bool

	// Service, Method and Timeout belong to a call; Payload and ContentType to a call or reply. Only a call of a device
	// has a Service, the one that it calls.
	Service     string
	Method      string
	Timeout     time.Duration
	Payload     []byte
	ContentType string

	// Err is the refusal in an ack or reply; its Code is empty if nothing went wrong.
	Err Error

	// Of is the op that an outgoing ack answers: Pub, Sub or Unsub. For a Pub, QoS is the
	// publication's. Protocols whose acks do not show it ignore it.
	Of Op

	// Token is the credential in a refresh. Lifetime, in a hello and in the ack of a refresh,
	// is how long the device's credential stays valid; 0 means for ever.
	Token    string
	Lifetime time.Duration

	// Hello is the content of a hello.
	Hello Greeting
}

// Greeting is the content of a hello packet.
type Greeting struct {
	Session    string        // session id
	Resumed    bool          // the session existed before this connection
	Heartbeat  time.Duration // silence after which the gateway pings, in whole seconds
	MaxPayload int           // most bytes in one message of the device
	Missed     uint64        // messages that the queue lost while the device was away
}

// Error is a refusal: Code for programs, Reason for people.
type Error struct{ Code, Reason string }

func (e Error) Error() string { return e.Code + ": " + e.Reason }

// Codec is one device protocol. Codecs have no state and are safe from any goroutine.
type Codec interface {
	// Name is the WebSocket subprotocol that selects the codec.
	Name() string
	// Text reports whether Append makes text frames rather than binary ones.
	Text() bool
	// Acks reports whether devices acknowledge QoS 1 messages and get hello, ack and call
	// packets. A raw protocol has only Pub and Msg.
	Acks() bool
	// Decode fills p from one message of the peer; p is then a view of frame. text reports whether it is a text
	// frame. An error is a *Close with the broken rule.
	Decode(p *Packet, frame []byte, text bool) error
	// Append appends the encoded packet to dst.
	Append(dst []byte, p *Packet) ([]byte, error)
}

// String returns the name of the op in both encodings.
func (o Op) String() string {
	if o.known() {
		return forms[o].name
	}
	return "packet"
}

func (o Op) known() bool { return o >= Hello && o < Ops }

// Reset empties p and keeps the capacity of its slices.
func (p *Packet) Reset() {
	filters, properties := p.Filters[:0], p.Message.Properties[:0]
	*p = Packet{Filters: filters}
	p.Message.Properties = properties
}
