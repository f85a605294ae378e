package ocpp

import (
	"strings"
	"unicode/utf8"

	"github.com/longline/longline/internal/jsontext"
)

// Append appends the frame to dst. Its strings are valid UTF-8, and its payload or details are one JSON value, or empty, which is
// written as {}.
func (f *Frame) Append(dst []byte) []byte {
	dst = append(dst, '[', '0'+byte(f.Type), ',')
	if f.Bare {
		dst = append(dst, f.ID...)
	} else {
		dst = jsontext.AppendString(dst, f.ID)
	}
	value := f.Payload
	switch f.Type {
	case Call, Send:
		dst = jsontext.AppendString(append(dst, ','), f.Action)
	case CallError, CallResultError:
		dst = jsontext.AppendString(append(dst, ','), f.Code)
		dst = jsontext.AppendString(append(dst, ','), f.Description)
		value = f.Details
	}
	if len(value) == 0 {
		value = empty
	}
	return append(append(append(dst, ','), value...), ']')
}

// Refuse returns the frame that refuses f, a CALL or what cannot be read, or for a CALLRESULT the CALLRESULTERROR. The reason is cut to
// MaxDescription.
func (v Version) Refuse(f *Frame, c Code, reason string) Frame {
	r := Frame{Type: CallError, ID: f.ID, Bare: f.Bare, Code: v.Name(c), Description: cut(reason)}
	if f.ID == "" {
		r.ID = UnreadableID
	}
	if f.Type == CallResult {
		r.Type = CallResultError
	}
	return r
}

// cut returns s as valid UTF-8 of at most MaxDescription bytes.
func cut(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= MaxDescription {
		return s
	}
	end := MaxDescription
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// Answerable reports whether the sender of a frame that breaks a rule by err is told. An answer, and a SEND, is not answered: otherwise
// two peers could go on without end. From 2.1 on, CALLRESULTERROR is for a bad CALLRESULT. 1.6 §4.1.3 wants frames of unknown types to
// be ignored.
func (v Version) Answerable(f *Frame, err *Error) bool {
	switch {
	case err.Code == MessageTypeNotSupported:
		return v > V16
	case f.Type == CallResult:
		return v == V21 && f.ID != ""
	}
	return f.Type == Call || f.Type == 0
}
