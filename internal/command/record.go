package command

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/longline/longline/internal/protofield"
)

// The store keeps two values of a command: the request, which never changes, and its life, which is small and changes often. The
// key of both is the command's ID in decimal, followed by / and a word. A value is one byte for the version, then fields
// in protobuf's wire format without those of zero value. A reader skips fields that it does not know. The version changes
// only if an old reader would misunderstand fields that it knows.

const (
	recordVersion = 1
	requestWord   = "request"
	lifeWord      = "life"
)

// The fields of a request. A number is never reused for another field; so for the fields below.
const (
	fieldDevice      protowire.Number = 1
	fieldMethod      protowire.Number = 2
	fieldPayload     protowire.Number = 3
	fieldContentType protowire.Number = 4
	fieldKey         protowire.Number = 5
	fieldExclusive   protowire.Number = 6
	fieldCreated     protowire.Number = 7
	fieldExpires     protowire.Number = 8
)

// The fields of a life.
const (
	fieldState    protowire.Number = 1
	fieldPossible protowire.Number = 2 // it may have been sent, or will be at once
	fieldPlace    protowire.Number = 3
	fieldAttempts protowire.Number = 4
	fieldEnded    protowire.Number = 5
	fieldAnswer   protowire.Number = 6
	fieldLate     protowire.Number = 7
	fieldHistory  protowire.Number = 8
)

// The fields of an answer, and of an event of the history.
const (
	fieldAnswerPayload protowire.Number = 1
	fieldAnswerType    protowire.Number = 2
	fieldAnswerCode    protowire.Number = 3
	fieldAnswerReason  protowire.Number = 4
	fieldAnswerTime    protowire.Number = 5
	fieldAnswerOmitted protowire.Number = 6

	fieldEventState   protowire.Number = 1
	fieldEventTime    protowire.Number = 2
	fieldEventAttempt protowire.Number = 3
	fieldEventSession protowire.Number = 4
	fieldEventSince   protowire.Number = 5
)

func keyOf(id uint64, word string) string { return strconv.FormatUint(id, 10) + "/" + word }

func parseKey(key string) (id uint64, word string, ok bool) {
	number, word, _ := strings.Cut(key, "/")
	id, err := strconv.ParseUint(number, 10, 64)
	return id, word, err == nil && id > 0 && (word == requestWord || word == lifeWord)
}

func appendRequest(dst []byte, r *Request) []byte {
	dst = append(dst, recordVersion)
	dst = protofield.AppendText(dst, fieldDevice, r.Device)
	dst = protofield.AppendText(dst, fieldMethod, r.Method)
	dst = protofield.AppendText(dst, fieldPayload, r.Payload)
	dst = protofield.AppendText(dst, fieldContentType, r.ContentType)
	dst = protofield.AppendText(dst, fieldKey, r.Key)
	dst = protofield.AppendNumber(dst, fieldExclusive, protowire.EncodeBool(r.Exclusive))
	dst = protofield.AppendNumber(dst, fieldCreated, uint64(r.Created))
	return protofield.AppendNumber(dst, fieldExpires, uint64(r.Expires))
}

func appendLife(dst []byte, c *Command) []byte {
	dst = append(dst, recordVersion)
	dst = protofield.AppendNumber(dst, fieldState, uint64(c.State))
	dst = protofield.AppendNumber(dst, fieldPossible, protowire.EncodeBool(c.attempt != unsent))
	dst = protofield.AppendNumber(dst, fieldPlace, c.Place)
	dst = protofield.AppendNumber(dst, fieldAttempts, uint64(c.Attempts))
	dst = protofield.AppendNumber(dst, fieldEnded, uint64(c.Ended))
	dst = appendAnswer(dst, fieldAnswer, c.Answer)
	dst = appendAnswer(dst, fieldLate, c.Late)
	for i := range c.History {
		e := &c.History[i]
		var b []byte
		b = protofield.AppendNumber(b, fieldEventState, uint64(e.State))
		b = protofield.AppendNumber(b, fieldEventTime, uint64(e.Time))
		b = protofield.AppendNumber(b, fieldEventAttempt, uint64(e.Attempt))
		b = protofield.AppendText(b, fieldEventSession, e.Session)
		b = protofield.AppendNumber(b, fieldEventSince, uint64(e.Since))
		dst = protowire.AppendBytes(protowire.AppendTag(dst, fieldHistory, protowire.BytesType), b)
	}
	return dst
}

func appendAnswer(dst []byte, num protowire.Number, a *Answer) []byte {
	if a == nil {
		return dst
	}
	var b []byte
	b = protofield.AppendText(b, fieldAnswerPayload, a.Payload)
	b = protofield.AppendText(b, fieldAnswerType, a.ContentType)
	b = protofield.AppendText(b, fieldAnswerCode, a.Err.Code)
	b = protofield.AppendText(b, fieldAnswerReason, a.Err.Reason)
	b = protofield.AppendNumber(b, fieldAnswerTime, uint64(a.Time))
	b = protofield.AppendNumber(b, fieldAnswerOmitted, uint64(a.Omitted))
	return protowire.AppendBytes(protowire.AppendTag(dst, num, protowire.BytesType), b)
}

// errRecord is wrapped by every error of parseRequest and parseLife.
var errRecord = errors.New("command: bad record")

// parseRequest decodes a request, which shares p's memory.
func parseRequest(p []byte) (*Request, error) {
	r := new(Request)
	err := parse(p, func(f *field) {
		switch f.Num {
		case fieldDevice:
			r.Device = f.text()
		case fieldMethod:
			r.Method = f.text()
		case fieldPayload:
			r.Payload = f.bytes()
		case fieldContentType:
			r.ContentType = f.text()
		case fieldKey:
			r.Key = f.text()
		case fieldExclusive:
			r.Exclusive = f.number(1) == 1
		case fieldCreated:
			r.Created = f.time()
		case fieldExpires:
			r.Expires = f.time()
		}
	})
	if err == nil && (r.Device == "" || r.Method == "") {
		err = fmt.Errorf("%w: it lacks a field", errRecord)
	}
	return r, err
}

// parseLife decodes all of a command but its request and its ID. Its status is that after a restart.
func parseLife(p []byte) (*Command, error) {
	c := new(Command)
	err := parse(p, func(f *field) {
		switch f.Num {
		case fieldState:
			c.State = State(f.number(uint64(numStates) - 1))
		case fieldPossible:
			if f.number(1) == 1 {
				c.attempt = promised
			}
		case fieldPlace:
			c.Place = f.number(maxNumber)
		case fieldAttempts:
			c.Attempts = uint32(f.number(1<<32 - 1))
		case fieldEnded:
			c.Ended = f.time()
		case fieldAnswer:
			c.Answer = f.answer()
		case fieldLate:
			c.Late = f.answer()
		case fieldHistory:
			c.History = append(c.History, f.event())
		}
	})
	if err == nil && (c.State == AnyState || len(c.History) == 0) {
		err = fmt.Errorf("%w: it lacks a field", errRecord)
	}
	c.late = c.Late != nil
	c.Status = c.restored()
	return c, err
}

// parse calls set for each field behind the version.
func parse(p []byte, set func(*field)) error {
	switch {
	case len(p) == 0:
		return fmt.Errorf("%w: it is empty", errRecord)
	case p[0] != recordVersion:
		return fmt.Errorf("%w: it has version %d, this program knows version %d", errRecord, p[0], recordVersion)
	}
	return eachField(p[1:], set)
}

func eachField(p []byte, set func(*field)) error {
	for len(p) > 0 {
		var f field
		n := f.Read(p)
		if n < 0 {
			return fmt.Errorf("%w: %d bytes before its end: want a field", errRecord, len(p))
		}
		f.Bytes = slices.Clip(f.Bytes)
		if set(&f); f.bad != nil {
			return fmt.Errorf("%w: field %d: %w", errRecord, f.Num, f.bad)
		}
		p = p[n:]
	}
	return nil
}

// field is one decoded field.
type field struct {
	protofield.Field
	bad error // set by the methods if the field is not what they expect
}

const maxNumber = 1<<63 - 1

var (
	errType = errors.New("it has another type")
	errSize = errors.New("it is too large")
	errUTF8 = errors.New("it is not UTF-8")
)

// number returns a number of at most most.
func (f *field) number(most uint64) uint64 {
	switch {
	case f.Type != protowire.VarintType:
		f.bad = errType
	case f.Number > most:
		f.bad = errSize
	default:
		return f.Number
	}
	return 0
}

func (f *field) time() int64 { return int64(f.number(maxNumber)) }

func (f *field) bytes() []byte {
	if f.Type != protowire.BytesType {
		f.bad = errType
	}
	return f.Bytes
}

func (f *field) text() string {
	b := f.bytes()
	if !utf8.Valid(b) {
		f.bad = errUTF8
	}
	return string(b)
}

func (f *field) answer() *Answer {
	a := new(Answer)
	f.within(func(f *field) {
		switch f.Num {
		case fieldAnswerPayload:
			a.Payload = f.bytes()
		case fieldAnswerType:
			a.ContentType = f.text()
		case fieldAnswerCode:
			a.Err.Code = f.text()
		case fieldAnswerReason:
			a.Err.Reason = f.text()
		case fieldAnswerTime:
			a.Time = f.time()
		case fieldAnswerOmitted:
			a.Omitted = int(f.number(1<<31 - 1))
		}
	})
	return a
}

func (f *field) event() (e Event) {
	f.within(func(f *field) {
		switch f.Num {
		case fieldEventState:
			e.State = State(f.number(uint64(numStates) - 1))
		case fieldEventTime:
			e.Time = f.time()
		case fieldEventAttempt:
			e.Attempt = uint32(f.number(1<<32 - 1))
		case fieldEventSession:
			e.Session = f.text()
		case fieldEventSince:
			e.Since = f.time()
		}
	})
	return e
}

// within decodes the fields of a message in a field.
func (f *field) within(set func(*field)) {
	if err := eachField(f.bytes(), set); err != nil && f.bad == nil {
		f.bad = err
	}
}
