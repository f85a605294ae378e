package command

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

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
	if c.Answer != nil {
		dst = protofield.AppendWithin(dst, fieldAnswer, c.Answer, appendAnswer)
	}
	if c.Late != nil {
		dst = protofield.AppendWithin(dst, fieldLate, c.Late, appendAnswer)
	}
	for i := range c.History {
		dst = protofield.AppendWithin(dst, fieldHistory, &c.History[i], appendEvent)
	}
	return dst
}

func appendEvent(dst []byte, e *Event) []byte {
	dst = protofield.AppendNumber(dst, fieldEventState, uint64(e.State))
	dst = protofield.AppendNumber(dst, fieldEventTime, uint64(e.Time))
	dst = protofield.AppendNumber(dst, fieldEventAttempt, uint64(e.Attempt))
	dst = protofield.AppendText(dst, fieldEventSession, e.Session)
	return protofield.AppendNumber(dst, fieldEventSince, uint64(e.Since))
}

func appendAnswer(dst []byte, a *Answer) []byte {
	dst = protofield.AppendText(dst, fieldAnswerPayload, a.Payload)
	dst = protofield.AppendText(dst, fieldAnswerType, a.ContentType)
	dst = protofield.AppendText(dst, fieldAnswerCode, a.Err.Code)
	dst = protofield.AppendText(dst, fieldAnswerReason, a.Err.Reason)
	dst = protofield.AppendNumber(dst, fieldAnswerTime, uint64(a.Time))
	return protofield.AppendNumber(dst, fieldAnswerOmitted, uint64(a.Omitted))
}

// errRecord is wrapped by every error of parseRequest and parseLife.
var errRecord = errors.New("command: bad record")

// parseRequest decodes a request, which shares p's memory.
func parseRequest(p []byte) (*Request, error) {
	r := new(Request)
	err := parse(p, func(f *protofield.Value) error {
		switch f.Num {
		case fieldDevice:
			r.Device = textOf(f)
		case fieldMethod:
			r.Method = textOf(f)
		case fieldPayload:
			r.Payload = f.Body()
		case fieldContentType:
			r.ContentType = textOf(f)
		case fieldKey:
			r.Key = textOf(f)
		case fieldExclusive:
			r.Exclusive = f.Within(1) == 1
		case fieldCreated:
			r.Created = timeOf(f)
		case fieldExpires:
			r.Expires = timeOf(f)
		}
		return nil
	})
	if err == nil && (r.Device == "" || r.Method == "") {
		err = fmt.Errorf("%w: it lacks a field", errRecord)
	}
	return r, err
}

// parseLife decodes all of a command but its request and its ID. Its status is that after a restart.
func parseLife(p []byte) (*Command, error) {
	c := new(Command)
	err := parse(p, func(f *protofield.Value) (err error) {
		switch f.Num {
		case fieldState:
			c.State = State(f.Within(uint64(numStates) - 1))
		case fieldPossible:
			if f.Within(1) == 1 {
				c.attempt = promised
			}
		case fieldPlace:
			c.Place = f.Within(maxNumber)
		case fieldAttempts:
			c.Attempts = uint32(f.Within(1<<32 - 1))
		case fieldEnded:
			c.Ended = timeOf(f)
		case fieldAnswer:
			c.Answer, err = parseAnswer(f.Body())
		case fieldLate:
			c.Late, err = parseAnswer(f.Body())
		case fieldHistory:
			var e Event
			e, err = parseEvent(f.Body())
			c.History = append(c.History, e)
		}
		return err
	})
	if err == nil && (c.State == AnyState || len(c.History) == 0) {
		err = fmt.Errorf("%w: it lacks a field", errRecord)
	}
	c.late = c.Late != nil
	c.Status = c.restored()
	return c, err
}

// parse calls set for each field behind the version.
func parse(p []byte, set func(*protofield.Value) error) error {
	switch {
	case len(p) == 0:
		return fmt.Errorf("%w: it is empty", errRecord)
	case p[0] != recordVersion:
		return fmt.Errorf("%w: it has version %d, this program knows version %d", errRecord, p[0], recordVersion)
	}
	return protofield.Each(p[1:], errRecord, set)
}

const maxNumber = 1<<63 - 1

func timeOf(f *protofield.Value) int64 { return int64(f.Within(maxNumber)) }

// textOf copies a text.
func textOf(f *protofield.Value) string { return strings.Clone(f.Text()) }

func parseAnswer(p []byte) (*Answer, error) {
	a := new(Answer)
	err := protofield.Each(p, errRecord, func(f *protofield.Value) error {
		switch f.Num {
		case fieldAnswerPayload:
			a.Payload = f.Body()
		case fieldAnswerType:
			a.ContentType = textOf(f)
		case fieldAnswerCode:
			a.Err.Code = textOf(f)
		case fieldAnswerReason:
			a.Err.Reason = textOf(f)
		case fieldAnswerTime:
			a.Time = timeOf(f)
		case fieldAnswerOmitted:
			a.Omitted = int(f.Within(1<<31 - 1))
		}
		return nil
	})
	return a, err
}

func parseEvent(p []byte) (e Event, err error) {
	err = protofield.Each(p, errRecord, func(f *protofield.Value) error {
		switch f.Num {
		case fieldEventState:
			e.State = State(f.Within(uint64(numStates) - 1))
		case fieldEventTime:
			e.Time = timeOf(f)
		case fieldEventAttempt:
			e.Attempt = uint32(f.Within(1<<32 - 1))
		case fieldEventSession:
			e.Session = textOf(f)
		case fieldEventSince:
			e.Since = timeOf(f)
		}
		return nil
	})
	return e, err
}
