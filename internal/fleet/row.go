package fleet

import (
	"encoding/json"
	"strings"
)

// payload returns what is sent of the row: its frame, or all of it as JSON. It is the caller's.
func (r *rows) payload() []byte {
	if r.frameAt >= 0 {
		return []byte(r.values[r.frameAt])
	}
	return r.json()
}

// json returns the row as a JSON object: a line of JSON as it is, or a member for each column, in order. A value that
// is a JSON number stands as it is, byte for byte; any other is a string.
func (r *rows) json() []byte {
	if r.lines != nil {
		return r.lines.line // ReadBytes made it for this row alone
	}
	b := make([]byte, 0, r.size+r.size/8+64)
	for i, v := range r.values {
		next := byte(',')
		if i == 0 {
			next = '{'
		}
		b = append(append(b, next), r.columns[i]...)
		b = appendValue(b, v, r.replay.DecimalComma)
	}
	r.size = len(b)
	return append(b, '}')
}

// appendValue adds v as a number if it is one, spaces around it left out, else as a string. With decimalComma, 12,5 is
// the number 12.5, and 12.5 is none.
func appendValue(b []byte, v string, decimalComma bool) []byte {
	plain := strings.TrimSpace(v)
	if !decimalComma && isNumber(plain) {
		return append(b, plain...)
	}
	if decimalComma && !strings.Contains(plain, ".") {
		if n := strings.Replace(plain, ",", ".", 1); isNumber(n) {
			return append(b, n...)
		}
	}
	return appendString(b, v)
}

// isNumber tells whether v is a JSON number, RFC 8259 §6. A JSON value that begins with a
// digit or a minus and ends in a digit is nothing else.
func isNumber(v string) bool {
	return v != "" && (v[0] == '-' || digit(v[0])) && digit(v[len(v)-1]) && json.Valid([]byte(v))
}

func digit(b byte) bool { return b >= '0' && b <= '9' }

// appendString adds s, which is UTF-8, as a JSON string, RFC 8259 §7: only what must be
// escaped is.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
