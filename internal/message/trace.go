package message

import (
	"encoding/hex"
	"errors"
)

// Traceparent is the name of the user property, and of the HTTP header, that carries a trace.
const Traceparent = "traceparent"

// Trace names the span of a distributed trace in which a message was published, as in W3C Trace
// Context.
type Trace struct {
	ID    [16]byte
	Span  [8]byte
	Flags byte // bit 0 says that the trace is sampled
}

// traceSize is the number of bytes that append appends.
const traceSize = 16 + 8 + 1

var errTraceparent = errors.New("traceparent: want 00-{32 hex digits}-{16 hex digits}-{2 hex digits}")

// ParseTraceparent parses a traceparent, W3C Trace Context §3.2.
func ParseTraceparent(s string) (*Trace, error) {
	const first = len("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
	var raw [1 + traceSize]byte // the version, then the trace
	if len(s) < first || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return nil, errTraceparent
	}
	at := raw[:0]
	for _, part := range [...]string{s[:2], s[3:35], s[36:52], s[53:first]} {
		var err error
		if at, err = appendHex(at, part); err != nil {
			return nil, errTraceparent
		}
	}
	switch version := raw[0]; {
	case version == 0xff, version == 0 && len(s) > first, len(s) > first && s[first] != '-':
		return nil, errTraceparent // only a later version may have more, after a dash
	}
	t, err := parseTrace(raw[1:])
	if err != nil || t.ID == [16]byte{} || t.Span == [8]byte{} {
		return nil, errTraceparent
	}
	return t, nil
}

// appendHex appends the bytes of lower-case hex digits.
func appendHex(dst []byte, digits string) ([]byte, error) {
	for i := range len(digits) {
		if c := digits[i]; c >= 'A' && c <= 'F' {
			return nil, errTraceparent
		}
	}
	return hex.AppendDecode(dst, []byte(digits))
}

// TraceOf returns the trace in user properties, or nil.
func TraceOf(properties []Property) *Trace {
	for _, p := range properties {
		if p.Key == Traceparent {
			t, _ := ParseTraceparent(p.Value) // W3C Trace Context §4.3: an invalid traceparent is ignored
			return t
		}
	}
	return nil
}

// String returns the traceparent.
func (t *Trace) String() string {
	b := append(make([]byte, 0, 55), "00-"...)
	b = append(hex.AppendEncode(b, t.ID[:]), '-')
	b = append(hex.AppendEncode(b, t.Span[:]), '-')
	return string(hex.AppendEncode(b, []byte{t.Flags}))
}

// append appends the bytes of a record's field: ID, span, flags.
func (t *Trace) append(dst []byte) []byte {
	dst = append(append(dst, t.ID[:]...), t.Span[:]...)
	return append(dst, t.Flags)
}

// parseTrace reads what append wrote, and ignores what a later version may have after it.
func parseTrace(p []byte) (*Trace, error) {
	if len(p) < traceSize {
		return nil, errTrace
	}
	t := new(Trace)
	n := copy(t.ID[:], p)
	n += copy(t.Span[:], p[n:])
	t.Flags = p[n]
	return t, nil
}
