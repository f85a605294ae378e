package websocket

import (
	"bytes"
	"fmt"
	"iter"
)

// Field is a header field to send. The name and the value are sent as they are.
type Field struct{ Name, Value string }

func appendField(dst []byte, name, value string) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), "\r\n"...)
}

// Limits bounds the header of an HTTP message. The zero value means the defaults.
type Limits struct {
	Bytes  int // all lines with their line ends; 0 means 8192
	Fields int // header lines; 0 means 64
}

func (l Limits) withDefaults() Limits {
	if l.Bytes <= 0 {
		l.Bytes = 8192
	}
	if l.Fields <= 0 {
		l.Fields = 64
	}
	return l
}

// head iterates over the lines of an HTTP/1.1 message's header, RFC 9112 §2.1, as far as they have
// arrived.
type head struct {
	p      []byte
	at     int // where the next line begins
	line   int // number of lines read
	limits Limits
}

// next returns the next line without its line end, nil if it is not complete.
func (h *head) next() ([]byte, *HTTPError) {
	rest := h.p[h.at:]
	end := bytes.IndexByte(rest, '\n')
	if end < 0 {
		if len(h.p) >= h.limits.Bytes {
			return nil, errHeadTooLarge
		}
		return nil, nil
	}
	if h.at+end+1 > h.limits.Bytes {
		return nil, errHeadTooLarge
	}
	h.line++
	h.at += end + 1
	if end == 0 || rest[end-1] != '\r' { // RFC 9112 §2.2 allows accepting a bare LF; this parser refuses it
		return nil, h.malformed("it ends in LF without CR")
	}
	return rest[:end-1], nil
}

// field returns the next header field, RFC 9112 §5. done reports that the empty line at the end of
// the header was read; if neither name nor done is set, the line is not complete.
func (h *head) field() (name, value []byte, done bool, e *HTTPError) {
	line, e := h.next()
	if e != nil || line == nil {
		return nil, nil, false, e
	}
	if len(line) == 0 {
		return nil, nil, true, nil
	}
	if h.line-1 > h.limits.Fields {
		return nil, nil, false, errTooManyFields
	}
	name, value, problem := parseField(line)
	if problem != "" {
		return nil, nil, false, h.malformed(problem)
	}
	return name, value, false, nil
}

func (h *head) malformed(problem string) *HTTPError {
	return &HTTPError{Status: 400, Reason: fmt.Sprintf("Line %d of the header is malformed: %s.", h.line, problem)}
}

// parseField splits a header line at its colon, or returns what is wrong with it.
func parseField(line []byte) (name, value []byte, problem string) {
	if line[0] == ' ' || line[0] == '\t' { // RFC 9112 §5.2
		return nil, nil, "it begins with a space, which is obsolete folding"
	}
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return nil, nil, "it has no colon"
	}
	name, value = line[:colon], trim(line[colon+1:])
	if !isToken(name) { // this also refuses a space before the colon, RFC 9112 §5.1
		return nil, nil, "its name is not a token"
	}
	if len(value) > 0 && !allIn(value, valueChar) {
		return nil, nil, "its value has a control character"
	}
	return name, value, ""
}

// fields is a block of valid header lines.
type fields []byte

// values yields the value of each line with this name, in any case, in order.
func (f fields) values(name string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for rest := []byte(f); len(rest) > 2; {
			end := bytes.IndexByte(rest, '\n')
			line := rest[:end-1]
			rest = rest[end+1:]
			if len(line) > len(name) && line[len(name)] == ':' && foldEqual(line[:len(name)], name) {
				if !yield(trim(line[len(name)+1:])) {
					return
				}
			}
		}
	}
}

// get returns the first value with this name, nil if there is none.
func (f fields) get(name string) []byte {
	for v := range f.values(name) {
		return v
	}
	return nil
}

// cutElement cuts the first element off a comma-separated list, RFC 9110 §5.6.1.
func cutElement(list []byte) (element, rest []byte) {
	element, rest, _ = bytes.Cut(list, []byte{','})
	return trim(element), rest
}

// listHas reports whether a comma-separated list contains the element, in any case.
func listHas(list []byte, element string) bool {
	for len(list) > 0 {
		var e []byte
		if e, list = cutElement(list); foldEqual(e, element) {
			return true
		}
	}
	return false
}
