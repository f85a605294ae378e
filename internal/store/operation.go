package store

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
)

// An operation is one change of what a durable store keeps. As bytes it is one byte that names the version, then fields in
// protobuf's wire format, those of zero value left out. A reader passes over fields that it does not know. The
// version changes only when an old reader would misunderstand what it knows; a new kind is not known to old readers,
// which stop there.
//
// Each sets or removes one thing under its name, whatever was there. So operations may be applied again, from any place
// to the end, to a state that has seen some of them.

// Kind is what an operation does.
type Kind uint8

// The kinds. A number is never used again for something else.
const (
	OpSave     Kind = 1  // Record is the device's
	OpDrop     Kind = 2  // the device has no record, no queue and no received identifiers
	OpReceive  Kind = 3  // Packet is the identifier of a publication of the device that it has not released
	OpRelease  Kind = 4  // it is not any more; 0 stands for all
	OpPush     Kind = 5  // Message has Number in the device's queue, with QoS and Due
	OpSent     Kind = 6  // the message of Number has the identifier Packet, 0 for none, and Due
	OpReceived Kind = 7  // what had Number is an identifier to be released, Packet; its message has left the queue
	OpRemove   Kind = 8  // nothing has Number any more
	OpRetain   Kind = 9  // Message is retained for its topic
	OpUnretain Kind = 10 // nothing is retained for Topic
)

// Op is an operation; its kind says which fields count.
type Op struct {
	Kind    Kind
	Device  string
	Number  uint64
	Packet  uint16
	QoS     message.QoS
	Due     int64 // Unix milliseconds at which the time of a queued message is over
	Topic   string
	Message *message.Message
	Record  *Record // Received does not count
}

const opVersion = 1

// The fields of an operation. A number is never used again for something else; so with those below.
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

// ErrOp is what every error of ParseOp wraps.
var ErrOp = errors.New("store: bad operation")

// AppendOp appends the bytes of op to dst.
func AppendOp(dst []byte, op *Op) []byte {
	dst = append(dst, opVersion)
	dst = appendNumber(dst, fieldKind, uint64(op.Kind))
	dst = appendText(dst, fieldDevice, op.Device)
	dst = appendNumber(dst, fieldNumber, op.Number)
	dst = appendNumber(dst, fieldPacket, uint64(op.Packet))
	dst = appendNumber(dst, fieldQoS, uint64(op.QoS))
	dst = appendNumber(dst, fieldDue, uint64(op.Due))
	dst = appendText(dst, fieldTopic, op.Topic)
	if op.Message != nil {
		dst = appendWithin(dst, fieldMessage, op.Message, message.AppendRecord)
	}
	if op.Record != nil {
		dst = appendWithin(dst, fieldRecord, op.Record, appendRecord)
	}
	return dst
}

func appendRecord(dst []byte, r *Record) []byte {
	dst = appendNumber(dst, fieldSession, r.Session)
	dst = appendNumber(dst, fieldExpiry, uint64(r.Expiry))
	dst = appendNumber(dst, fieldLeft, uint64(r.Left))
	dst = appendNumber(dst, fieldMissed, r.Missed)
	for i := range r.Subscriptions {
		dst = appendWithin(dst, fieldSubscription, &r.Subscriptions[i], appendSubscription)
	}
	if r.Will != nil {
		dst = appendWithin(dst, fieldWill, r.Will, appendWill)
	}
	return dst
}

func appendSubscription(dst []byte, s *topic.Subscription) []byte {
	dst = appendText(dst, fieldFilter, s.Filter)
	dst = appendNumber(dst, fieldGranted, uint64(s.QoS))
	dst = appendNumber(dst, fieldID, uint64(s.ID))
	dst = appendNumber(dst, fieldNoLocal, protowire.EncodeBool(s.NoLocal))
	dst = appendNumber(dst, fieldRetainAsPublished, protowire.EncodeBool(s.RetainAsPublished))
	dst = appendNumber(dst, fieldRetainHandling, uint64(s.RetainHandling))
	return appendNumber(dst, fieldConflate, protowire.EncodeBool(s.Conflate))
}

func appendWill(dst []byte, w *Will) []byte {
	dst = appendWithin(dst, fieldWillMessage, w.Message, message.AppendRecord)
	dst = appendNumber(dst, fieldWillDelay, uint64(w.Delay))
	return appendNumber(dst, fieldWillExpiry, uint64(w.Expiry))
}

func appendNumber(dst []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), v)
}

func appendText(dst []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return dst
	}
	return protowire.AppendString(protowire.AppendTag(dst, num, protowire.BytesType), s)
}

// appendWithin appends what body appends of v, as a field.
func appendWithin[T any](dst []byte, num protowire.Number, v T, body func([]byte, T) []byte) []byte {
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	at := len(dst)
	dst = body(dst, v)
	var room [10]byte
	return slices.Insert(dst, at, protowire.AppendVarint(room[:0], uint64(len(dst)-at))...)
}

// ParseOp returns the operation that p tells. It owns p: strings and messages are views of it. An error wraps ErrOp.
func ParseOp(p []byte) (op Op, err error) {
	switch {
	case len(p) == 0:
		return op, fmt.Errorf("%w: it is empty", ErrOp)
	case p[0] != opVersion:
		return op, fmt.Errorf("%w: it has version %d, this program knows version %d", ErrOp, p[0], opVersion)
	}
	if err = eachField(p[1:], op.set); err != nil {
		return op, err
	}
	if op.Record != nil {
		op.Record.Device = op.Device
	}
	return op, op.check()
}

// check reports what an operation of its kind must have and has not.
func (op *Op) check() error {
	ofDevice, needs := true, true
	switch op.Kind {
	case OpSave:
		needs = op.Record != nil
	case OpDrop, OpRelease:
	case OpReceive:
		needs = op.Packet != 0
	case OpPush:
		needs = op.Number != 0 && op.Message != nil && op.QoS > message.AtMostOnce
	case OpSent, OpRemove:
		needs = op.Number != 0
	case OpReceived:
		needs = op.Number != 0 && op.Packet != 0
	case OpRetain:
		ofDevice, needs = false, op.Message != nil
	case OpUnretain:
		ofDevice, needs = false, op.Topic != ""
	default:
		return fmt.Errorf("%w: kind %d is not known to this program", ErrOp, op.Kind)
	}
	if !needs || ofDevice && op.Device == "" {
		return fmt.Errorf("%w: kind %d lacks a field", ErrOp, op.Kind)
	}
	return nil
}

func (op *Op) set(f *field) (err error) {
	switch f.num {
	case fieldKind:
		op.Kind = Kind(f.within(255))
	case fieldDevice:
		op.Device = f.text()
	case fieldNumber:
		op.Number = f.uint()
	case fieldPacket:
		op.Packet = uint16(f.within(1<<16 - 1))
	case fieldQoS:
		op.QoS = message.QoS(f.within(uint64(message.ExactlyOnce)))
	case fieldDue:
		op.Due = int64(f.uint())
	case fieldTopic:
		op.Topic = f.text()
	case fieldMessage:
		op.Message, err = message.ParseRecord(f.body())
	case fieldRecord:
		op.Record = new(Record)
		err = eachField(f.body(), op.Record.set)
	}
	return err
}

func (r *Record) set(f *field) (err error) {
	switch f.num {
	case fieldSession:
		r.Session = f.uint()
	case fieldExpiry:
		r.Expiry = time.Duration(f.uint())
	case fieldLeft:
		r.Left = int64(f.uint())
	case fieldMissed:
		r.Missed = f.uint()
	case fieldSubscription:
		var s subscription
		err = eachField(f.body(), s.set)
		r.Subscriptions = append(r.Subscriptions, topic.Subscription(s))
	case fieldWill:
		w := new(Will)
		if err = eachField(f.body(), w.set); err == nil && w.Message == nil {
			err = errNoMessage
		}
		r.Will = w
	}
	return err
}

// subscription has a method of its own.
type subscription topic.Subscription

func (s *subscription) set(f *field) error {
	switch f.num {
	case fieldFilter:
		s.Filter = f.text()
	case fieldGranted:
		s.QoS = message.QoS(f.within(uint64(message.ExactlyOnce)))
	case fieldID:
		s.ID = uint32(f.within(1<<32 - 1))
	case fieldNoLocal:
		s.NoLocal = f.uint() != 0
	case fieldRetainAsPublished:
		s.RetainAsPublished = f.uint() != 0
	case fieldRetainHandling:
		s.RetainHandling = uint8(f.within(topic.RetainNever))
	case fieldConflate:
		s.Conflate = f.uint() != 0
	}
	return nil
}

func (w *Will) set(f *field) (err error) {
	switch f.num {
	case fieldWillMessage:
		w.Message, err = message.ParseRecord(f.body())
	case fieldWillDelay:
		w.Delay = time.Duration(f.uint())
	case fieldWillExpiry:
		w.Expiry = time.Duration(f.uint())
	}
	return err
}

// field is one that was read: a number or bytes.
type field struct {
	num    protowire.Number
	typ    protowire.Type
	number uint64
	bytes  []byte
	bad    error // what is wrong with it, as far as it was looked at
}

var (
	errFieldType = errors.New("it has another type")
	errFieldText = errors.New("it is not UTF-8")
	errFieldSize = errors.New("it is too large")
	errNoMessage = errors.New("it has no message")
)

func (f *field) uint() uint64 {
	if f.typ != protowire.VarintType {
		f.bad = errFieldType
	}
	return f.number
}

// within is uint for a number that is most at the most.
func (f *field) within(most uint64) uint64 {
	if f.uint() > most {
		f.bad = errFieldSize
		return 0
	}
	return f.number
}

func (f *field) body() []byte {
	if f.typ != protowire.BytesType {
		f.bad = errFieldType
	}
	return f.bytes
}

// text is body as a string, a view of it.
func (f *field) text() string {
	p := f.body()
	if !utf8.Valid(p) {
		f.bad = errFieldText
	}
	return unsafe.String(unsafe.SliceData(p), len(p))
}

// eachField calls set for each field of p.
func eachField(p []byte, set func(*field) error) error {
	for len(p) > 0 {
		f, n := field{}, 0
		if f.num, f.typ, n = protowire.ConsumeTag(p); n < 0 {
			return fmt.Errorf("%w: %d bytes before its end: want a field", ErrOp, len(p))
		}
		body := 0
		switch rest := p[n:]; f.typ {
		case protowire.VarintType:
			f.number, body = protowire.ConsumeVarint(rest)
		case protowire.BytesType:
			f.bytes, body = protowire.ConsumeBytes(rest)
			f.bytes = slices.Clip(f.bytes)
		default:
			body = protowire.ConsumeFieldValue(f.num, f.typ, rest)
		}
		if body < 0 {
			return fmt.Errorf("%w: field %d is cut off", ErrOp, f.num)
		}
		err := set(&f)
		if f.bad != nil {
			err = f.bad
		}
		if err != nil {
			return fmt.Errorf("%w: field %d: %w", ErrOp, f.num, err)
		}
		p = p[n+body:]
	}
	return nil
}
