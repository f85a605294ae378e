package fleet

import (
	"encoding/json"
	"strings"
)

// payload returns what is sent for the row: its frame, or the row as JSON. The caller may keep it.
func (r *rows) payload() []byte {
	if r.frameAt >= 0 {
		return []byte(r.values[r.frameAt])
	}
	return r.json()
}

// json returns the row as a JSON object: a line of JSON unchanged, or a member for each column, in order. A value that
// is a JSON number is kept byte for byte; any other becomes a string.
func (r *rows) json() []byte {
	if r.lines != nil {
		return r.lines.line // ReadBytes has allocated it for this row
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

// appendValue adds v as a number without spaces around it, if it is one, and otherwise as a string. With decimalComma, 12,5 is
// the number 12.5, and 12.5 is a string.
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

// isNumber reports whether v is a JSON number, RFC 8259 §6. A JSON value that begins with a
// digit or a minus and ends in a digit is nothing else.
func isNumber(v string) bool {
	return v != "" && (v[0] == '-' || digit(v[0])) && digit(v[len(v)-1]) && json.Valid([]byte(v))
}

func digit(b byte) bool { return b >= '0' && b <= '9' }

// appendString adds s, which is UTF-8, as a JSON string, RFC 8259 §7. It escapes only what must be
// escaped.
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
