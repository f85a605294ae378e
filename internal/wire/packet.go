// Package wire holds the device protocols as codecs: bytes of one WebSocket message to
// one Packet and back. It does no I/O and keeps no state of a connection.
//
// The flow: the gateway greets with hello; the device publishes (pub, answered by ack when
// QoS is 1), subscribes (sub, unsub, each answered by ack), acknowledges what it was sent
// with QoS 1 (msg, answered by ack) and answers calls (call, answered by reply). Before its
// credential expires it shows another (refresh, answered by ack).
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
	Call                  // gateway to device
	Reply                 // device to gateway
	Refresh               // device to gateway

	Ops = iota + 1 // one more than the largest op: the size of a table by op
)

// MaxID is the largest id of a packet: what a JSON number holds exactly.
const MaxID = 1<<53 - 1

// Packet is one packet of any device protocol. Which fields count depends on Op.
//
// A decoded packet is borrowed: its strings and slices are views of the frame, valid
// until the next Decode into it or until the frame's buffer is used again.
type Packet struct {
	Op Op

	// ID pairs a packet with its answer: pub (QoS 1), ack, sub, unsub, msg (QoS 1), call,
	// reply, refresh. 1 to MaxID; 0 is absent.
	ID uint64

	// Message is what a pub or msg carries. In a pub, Source, Time and ID are not set.
	Message message.Message

	// Again says that the device has sent a pub before: MQTT's DUP.
	Again bool

	// Expiry is how long the message of a pub may wait for its receivers; 0 is for ever.
	Expiry time.Duration

	// Filters, QoS and Conflate are those of a sub; Filters also of an unsub. QoS 2 is MQTT's
	// alone.
	Filters  []string
	QoS      message.QoS
	Conflate bool

	// Method and Timeout are those of a call; Payload and ContentType of a call or reply.
	Method      string
	Timeout     time.Duration
	Payload     []byte
	ContentType string

	// Err refuses what an ack or reply answers; its Code is empty when nothing was wrong.
	Err Error

	// Of is what an ack that is to be sent answers: Pub, Sub or Unsub; of a Pub, QoS is the
	// publication's. Protocols whose acks do not say it have no use for it.
	Of Op

	// Token is the credential of a refresh. Lifetime, of a hello and of the ack of a refresh,
	// is how long the device's credential is good for; 0 is for ever.
	Token    string
	Lifetime time.Duration

	// Hello is what a hello says.
	Hello Greeting
}

// Greeting is the content of a hello packet.
type Greeting struct {
	Session    string        // session id
	Resumed    bool          // the session existed before this connection
	Heartbeat  time.Duration // silence after which the gateway pings; whole seconds
	MaxPayload int           // bytes a message of the device may have
	Missed     uint64        // messages that the offline queue lost while the device was away
}

// Error is a refusal that a peer can act on: Code for its program, Reason for its people.
type Error struct{ Code, Reason string }

func (e Error) Error() string { return e.Code + ": " + e.Reason }

// Codec is one device protocol. Codecs have no state and are safe from any goroutine.
type Codec interface {
	// Name is the subprotocol that chooses the codec.
	Name() string
	// Text tells whether Append makes text frames (true) or binary ones.
	Text() bool
	// Acks tells whether devices acknowledge QoS 1 messages and get hello, ack and call
	// packets. A raw protocol has only Pub and Msg.
	Acks() bool
	// Decode fills p from one message of the peer, a view of frame. text tells the kind of
	// frame. An error is a *Close with the rule that was broken.
	Decode(p *Packet, frame []byte, text bool) error
	// Append adds the encoded packet to dst.
	Append(dst []byte, p *Packet) ([]byte, error)
}

// Op names a packet in both encodings.
func (o Op) String() string {
	if o.known() {
		return forms[o].name
	}
	return "packet"
}

func (o Op) known() bool { return o >= Hello && o < Ops }

// Reset empties p and keeps the room of its slices.
func (p *Packet) Reset() {
	filters, properties := p.Filters[:0], p.Message.Properties[:0]
	*p = Packet{Filters: filters}
	p.Message.Properties = properties
}
