package store

import (
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/protofield"
	"github.com/longline/longline/internal/topic"
)

// An operation is one change of the state of a durable store. Encoded, it is one byte for the version, then fields in protobuf's
// wire format without those of zero value. A reader skips fields that it does not know. The version changes only if an old
// reader would misunderstand fields that it knows. An old reader stops at a kind that it does not know.
//
// Each operation sets or removes one thing under its name, whatever was there before. So operations may be applied again, from any
// place to the end, to a state that has some of them already.

// Kind says what an operation does.
type Kind uint8

// The kinds. A number is never reused for another kind.
const (
	OpSave     Kind = 1  // Record is the record of a device that had none
	OpDrop     Kind = 2  // removes the device's record, queue and received identifiers
	OpReceive  Kind = 3  // Packet is the identifier of a publication that the device has not released
	OpRelease  Kind = 4  // undoes OpReceive for Packet, or for all if it is 0
	OpPush     Kind = 5  // adds Message, of which Size and Shared tell, to the device's queue as Number, with QoS and Due; removes Key, if set, from SpaceOrphan. Old ones have no Size
	OpSent     Kind = 6  // sets the identifier, Packet, which may be 0, and Due of the message Number, of which QoS, Size and Shared tell; old ones have no QoS
	OpReceived Kind = 7  // replaces the message Number by Packet, an identifier to be released
	OpRemove   Kind = 8  // removes Number
	OpRetain   Kind = 9  // retains Message for its topic
	OpUnretain Kind = 10 // removes the retained message of Topic
	OpPut      Kind = 11 // sets Value of Key in Space
	OpDelete   Kind = 12 // removes it
	OpOrphan   Kind = 13 // replaces the message Number by Value of Key in SpaceOrphan

	OpUpdate      Kind = 14 // Record replaces the device's record but for the subscriptions
	OpSubscribe   Kind = 15 // adds Subscription to the device's record, or replaces that with the same filter
	OpUnsubscribe Kind = 16 // removes the subscription to the filter Topic

	OpRetained Kind = 17 // tells of the retained message of Message's topic, which has Size; Message is its head
)

// Op is an operation. Which fields count depends on Kind.
type Op struct {
	Kind    Kind
	Device  string
	Number  uint64
	Packet  uint16
	QoS     message.QoS
	Due     int64 // when a queued message expires, in Unix milliseconds
	Size    int   // of the message
	Shared  bool  // the message came by a shared subscription
	Topic   string
	Message *message.Message
	Record  *Record // without Received
	Space   Space
	Key     string
	Value   []byte

	Subscription *topic.Subscription

	body []byte // Message as it was written, until it is parsed
}

const opVersion = 1

// The fields of an operation. A number is never reused for another field; so for the fields below.
const (
	fieldKind    protowire.Number = 1
	fieldDevice  protowire.Number = 2
	fieldNumber  protowire.Number = 3
	fieldPacket  protowire.Number = 4
	fieldQoS     protowire.Number = 5
	fieldDue     protowire.Number = 6
	fieldTopic   protowire.Number = 7
	fieldMessage protowire.Number = 8
	fieldRecord  protowire.Number = 9
	fieldSpace   protowire.Number = 10
	fieldKey     protowire.Number = 11
	fieldValue   protowire.Number = 12
	fieldSize    protowire.Number = 13
	fieldShared  protowire.Number = 14

	fieldSubscribed protowire.Number = 15
)

// The fields of a record, and of a will.
const (
	fieldSession      protowire.Number = 1
	fieldExpiry       protowire.Number = 2 // nanoseconds
	fieldLeft         protowire.Number = 3
	fieldMissed       protowire.Number = 4
	fieldSubscription protowire.Number = 5
	fieldWill         protowire.Number = 6

	fieldWillMessage protowire.Number = 1
	fieldWillDelay   protowire.Number = 2 // nanoseconds
	fieldWillExpiry  protowire.Number = 3 // nanoseconds
)

// The fields of a subscription.
const (
	fieldFilter            protowire.Number = 1
	fieldGranted           protowire.Number = 2
	fieldID                protowire.Number = 3
	fieldNoLocal           protowire.Number = 4
	fieldRetainAsPublished protowire.Number = 5
	fieldRetainHandling    protowire.Number = 6
	fieldConflate          protowire.Number = 7
)

var (
	// ErrOp is wrapped by every error of ParseOp.
	ErrOp = errors.New("store: bad operation")
	// ErrNewerOp is wrapped as well when a newer program may know the operation.
	ErrNewerOp = errors.New("a newer program wrote it")

	errNoMessage = errors.New("it has no message")
)

// AppendOp appends the encoded op to dst.
func AppendOp(dst []byte, op *Op) []byte {
	dst = append(dst, opVersion)
	dst = protofield.AppendNumber(dst, fieldKind, uint64(op.Kind))
	dst = protofield.AppendText(dst, fieldDevice, op.Device)
	dst = protofield.AppendNumber(dst, fieldNumber, op.Number)
	dst = protofield.AppendNumber(dst, fieldPacket, uint64(op.Packet))
	dst = protofield.AppendNumber(dst, fieldQoS, uint64(op.QoS))
	dst = protofield.AppendNumber(dst, fieldDue, uint64(op.Due))
	dst = protofield.AppendText(dst, fieldTopic, op.Topic)
	if op.Message != nil {
		dst = protofield.AppendWithin(dst, fieldMessage, op.Message, message.AppendRecord)
	}
	if op.Record != nil {
		dst = protofield.AppendWithin(dst, fieldRecord, op.Record, appendRecord)
	}
	dst = protofield.AppendNumber(dst, fieldSpace, uint64(op.Space))
	dst = protofield.AppendText(dst, fieldKey, op.Key)
	dst = protofield.AppendText(dst, fieldValue, op.Value)
	dst = protofield.AppendNumber(dst, fieldSize, uint64(op.Size))
	dst = protofield.AppendNumber(dst, fieldShared, protowire.EncodeBool(op.Shared))
	if op.Subscription != nil {
		dst = protofield.AppendWithin(dst, fieldSubscribed, op.Subscription, appendSubscription)
	}
	return dst
}

func appendRecord(dst []byte, r *Record) []byte {
	dst = protofield.AppendNumber(dst, fieldSession, r.Session)
	dst = protofield.AppendNumber(dst, fieldExpiry, uint64(r.Expiry))
	dst = protofield.AppendNumber(dst, fieldLeft, uint64(r.Left))
	dst = protofield.AppendNumber(dst, fieldMissed, r.Missed)
	for i := range r.Subscriptions {
		dst = protofield.AppendWithin(dst, fieldSubscription, &r.Subscriptions[i], appendSubscription)
	}
	if r.Will != nil {
		dst = protofield.AppendWithin(dst, fieldWill, r.Will, appendWill)
	}
	return dst
}

func appendSubscription(dst []byte, s *topic.Subscription) []byte {
	dst = protofield.AppendText(dst, fieldFilter, s.Filter)
	dst = protofield.AppendNumber(dst, fieldGranted, uint64(s.QoS))
	dst = protofield.AppendNumber(dst, fieldID, uint64(s.ID))
	dst = protofield.AppendNumber(dst, fieldNoLocal, protowire.EncodeBool(s.NoLocal))
	dst = protofield.AppendNumber(dst, fieldRetainAsPublished, protowire.EncodeBool(s.RetainAsPublished))
	dst = protofield.AppendNumber(dst, fieldRetainHandling, uint64(s.RetainHandling))
	return protofield.AppendNumber(dst, fieldConflate, protowire.EncodeBool(s.Conflate))
}

func appendWill(dst []byte, w *Will) []byte {
	dst = protofield.AppendWithin(dst, fieldWillMessage, w.Message, message.AppendRecord)
	dst = protofield.AppendNumber(dst, fieldWillDelay, uint64(w.Delay))
	return protofield.AppendNumber(dst, fieldWillExpiry, uint64(w.Expiry))
}

// AppendRecord appends the encoded r to dst, without its subscriptions.
func AppendRecord(dst []byte, r *Record) []byte {
	c := *r
	c.Subscriptions = nil
	return appendRecord(dst, &c)
}

// ParseRecord undoes AppendRecord, but for the device. It owns p, as ParseOp does.
func ParseRecord(p []byte) (*Record, error) {
	r := new(Record)
	return r, protofield.Each(p, ErrOp, r.set)
}

// AppendSubscription appends the encoded s to dst.
func AppendSubscription(dst []byte, s *topic.Subscription) []byte { return appendSubscription(dst, s) }

// ParseSubscription undoes AppendSubscription. It owns p, as ParseOp does.
func ParseSubscription(p []byte) (topic.Subscription, error) {
	var s subscription
	err := protofield.Each(p, ErrOp, s.set)
	return topic.Subscription(s), err
}

// ParseOp decodes an operation. It owns p: strings and messages share its memory. An error wraps ErrOp.
func ParseOp(p []byte) (op Op, err error) {
	if err = op.parse(p); err == nil {
		err = op.parseMessage()
	}
	return op, err
}

// ParseHead is ParseOp, but a push has no Message if it tells itself what a queue has to know of it.
func ParseHead(p []byte) (op Op, err error) {
	if err = op.parse(p); err == nil && (op.Kind != OpPush || op.Size == 0) {
		err = op.parseMessage()
	}
	return op, err
}

// parse decodes all but the message, and checks the whole.
func (op *Op) parse(p []byte) error {
	switch {
	case len(p) == 0:
		return fmt.Errorf("%w: it is empty", ErrOp)
	case p[0] != opVersion:
		return fmt.Errorf("%w: %w: it has version %d, this program knows version %d", ErrOp, ErrNewerOp, p[0], opVersion)
	}
	if err := protofield.Each(p[1:], ErrOp, op.set); err != nil {
		return err
	}
	if op.Record != nil {
		op.Record.Device = op.Device
	}
	return op.check()
}

// parseMessage decodes the message.
func (op *Op) parseMessage() (err error) {
	if op.body == nil {
		return nil
	}
	if op.Message, err = message.ParseRecord(op.body); err != nil {
		return fmt.Errorf("%w: field %d: %w", ErrOp, fieldMessage, err)
	}
	op.body = nil
	if op.Kind == OpRetained && op.Size < op.Message.Size() {
		return fmt.Errorf("%w: kind %d says that the message is smaller than what it has of it", ErrOp, op.Kind)
	}
	return nil
}

// check returns an error if a field is missing that an operation of this kind needs.
func (op *Op) check() error {
	ofDevice, needs := true, true
	switch op.Kind {
	case OpSave, OpUpdate:
		needs = op.Record != nil
	case OpSubscribe:
		needs = op.Subscription != nil
	case OpUnsubscribe:
		needs = op.Topic != ""
	case OpDrop, OpRelease:
	case OpReceive:
		needs = op.Packet != 0
	case OpPush:
		needs = op.Number != 0 && op.body != nil && op.QoS > message.AtMostOnce
	case OpSent, OpRemove:
		needs = op.Number != 0
	case OpReceived:
		needs = op.Number != 0 && op.Packet != 0
	case OpRetain:
		ofDevice, needs = false, op.body != nil
	case OpRetained:
		ofDevice, needs = false, op.body != nil && op.Size > 0
	case OpUnretain:
		ofDevice, needs = false, op.Topic != ""
	case OpOrphan:
		needs = op.Number != 0 && op.Key != ""
	case OpPut, OpDelete:
		ofDevice, needs = false, op.Space != 0 && op.Key != ""
	default:
		return fmt.Errorf("%w: %w: kind %d is not known to this program", ErrOp, ErrNewerOp, op.Kind)
	}
	if !needs || ofDevice && op.Device == "" {
		return fmt.Errorf("%w: kind %d lacks a field", ErrOp, op.Kind)
	}
	return nil
}

func (op *Op) set(f *protofield.Value) (err error) {
	switch f.Num {
	case fieldKind:
		op.Kind = Kind(f.Within(255))
	case fieldDevice:
		op.Device = f.Text()
	case fieldNumber:
		op.Number = f.Uint()
	case fieldPacket:
		op.Packet = uint16(f.Within(1<<16 - 1))
	case fieldQoS:
		op.QoS = message.QoS(f.Within(uint64(message.ExactlyOnce)))
	case fieldDue:
		op.Due = int64(f.Uint())
	case fieldTopic:
		op.Topic = f.Text()
	case fieldMessage:
		op.body = f.Body()
	case fieldRecord:
		op.Record = new(Record)
		err = protofield.Each(f.Body(), ErrOp, op.Record.set)
	case fieldSpace:
		op.Space = Space(f.Within(255))
	case fieldKey:
		op.Key = f.Text()
	case fieldValue:
		op.Value = f.Body()
	case fieldSize:
		op.Size = int(f.Within(math.MaxInt32))
	case fieldShared:
		op.Shared = f.Uint() != 0
	case fieldSubscribed:
		var sub subscription
		err = protofield.Each(f.Body(), ErrOp, sub.set)
		op.Subscription = (*topic.Subscription)(&sub)
	}
	return err
}

func (r *Record) set(f *protofield.Value) (err error) {
	switch f.Num {
	case fieldSession:
		r.Session = f.Uint()
	case fieldExpiry:
		r.Expiry = time.Duration(f.Uint())
	case fieldLeft:
		r.Left = int64(f.Uint())
	case fieldMissed:
		r.Missed = f.Uint()
	case fieldSubscription:
		var s subscription
		err = protofield.Each(f.Body(), ErrOp, s.set)
		r.Subscriptions = append(r.Subscriptions, topic.Subscription(s))
	case fieldWill:
		w := new(Will)
		if err = protofield.Each(f.Body(), ErrOp, w.set); err == nil && w.Message == nil {
			err = errNoMessage
		}
		r.Will = w
	}
	return err
}

// subscription is a topic.Subscription with the method set.
type subscription topic.Subscription

func (s *subscription) set(f *protofield.Value) error {
	switch f.Num {
	case fieldFilter:
		s.Filter = f.Text()
	case fieldGranted:
		s.QoS = message.QoS(f.Within(uint64(message.ExactlyOnce)))
	case fieldID:
		s.ID = uint32(f.Within(1<<32 - 1))
	case fieldNoLocal:
		s.NoLocal = f.Uint() != 0
	case fieldRetainAsPublished:
		s.RetainAsPublished = f.Uint() != 0
	case fieldRetainHandling:
		s.RetainHandling = uint8(f.Within(topic.RetainNever))
	case fieldConflate:
		s.Conflate = f.Uint() != 0
	}
	return nil
}

func (w *Will) set(f *protofield.Value) (err error) {
	switch f.Num {
	case fieldWillMessage:
		w.Message, err = message.ParseRecord(f.Body())
	case fieldWillDelay:
		w.Delay = time.Duration(f.Uint())
	case fieldWillExpiry:
		w.Expiry = time.Duration(f.Uint())
	}
	return err
}
