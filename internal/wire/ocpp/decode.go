package ocpp

import (
	"fmt"
	"strings"

	"github.com/longline/longline/internal/wire"
)

// Decode fills f from one message of the peer. An error is an *Error; then Type, ID and Bare are what could be read of them, and are
// otherwise zero, so that the peer can be told.
//
// Some chargers leave out or write null for a payload that is empty, or the last elements of a CALLERROR. Decode reads such a payload
// as an empty object, and what is missing in a CALLERROR as nothing.
func (v Version) Decode(f *Frame, message []byte) error {
	*f = Frame{}
	var elements [6][]byte // one more than the longest frame has
	n := 0
	broken := wire.JSONElements(message, func(element []byte) {
		if n < len(elements) {
			elements[n] = element
			n++
		}
	})
	if err := v.head(f, elements[:min(n, 2)]); err != nil {
		if broken != nil && n < 2 {
			return &Error{FrameworkError, reason(broken)}
		}
		return err
	}
	if broken != nil {
		return &Error{FrameworkError, reason(broken)}
	}
	return f.body(elements[2:n])
}

// reason returns what is wrong with JSON.
func reason(broken error) string {
	_, text, _ := strings.Cut(broken.Error(), ": ") // behind the label of a close code
	return text
}

// head reads the type and the message id.
func (v Version) head(f *Frame, elements [][]byte) error {
	if len(elements) == 0 {
		return &Error{FrameworkError, "the frame is empty"}
	}
	if t := elements[0]; len(t) == 1 && t[0] >= '0' && t[0] <= '9' {
		f.Type = Type(t[0] - '0')
	}
	if len(elements) > 1 {
		f.readID(elements[1])
	}
	switch {
	case !v.knows(f.Type):
		return &Error{MessageTypeNotSupported, fmt.Sprintf("%s has no frames of type %.20s", v.Subprotocol(), elements[0])}
	case f.ID == "":
		return &Error{FrameworkError, fmt.Sprintf("the message id is not a string of 1 to %d bytes", MaxName)}
	}
	return nil
}

// readID reads a message id; ID stays empty if element is none.
func (f *Frame) readID(element []byte) {
	var id string
	switch c := element[0]; {
	case c == '"':
		id = wire.JSONString(element)
	case c >= '0' && c <= '9':
		id, f.Bare = string(element), true
	}
	if len(id) <= MaxName {
		f.ID = id
	} else {
		f.Bare = false
	}
}

// body reads what follows the message id.
func (f *Frame) body(rest [][]byte) error {
	switch f.Type {
	case Call, Send:
		if len(rest) == 0 || rest[0][0] != '"' {
			return &Error{FormatViolation, "the action is not a string"}
		}
		if f.Action = wire.JSONString(rest[0]); f.Action == "" || len(f.Action) > MaxName {
			return &Error{FormatViolation, fmt.Sprintf("the action is not a string of 1 to %d bytes", MaxName)}
		}
		return f.readPayload(rest[1:])
	case CallResult:
		return f.readPayload(rest)
	default:
		return f.readError(rest)
	}
}

func (f *Frame) readPayload(rest [][]byte) error {
	switch {
	case len(rest) > 1:
		return &Error{FormatViolation, "the frame has more elements than its type allows"}
	case len(rest) == 0 || rest[0][0] == 'n':
		f.Payload = empty
	case rest[0][0] != '{':
		return &Error{FormatViolation, "the payload is not an object"}
	default:
		f.Payload = rest[0]
	}
	return nil
}

// readError reads the elements of a CALLERROR. It never fails, because an error cannot be refused: what has another form is left out.
func (f *Frame) readError(rest [][]byte) error {
	f.Details = empty
	for i, element := range rest {
		text := ""
		if element[0] == '"' {
			text = wire.JSONString(element)
		}
		switch i {
		case 0:
			f.Code = text
		case 1:
			f.Description = text
		case 2:
			f.Details = element
		}
	}
	return nil
}
