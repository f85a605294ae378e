package wire

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// maxDepth bounds how deep objects and arrays nest, the packet's own object included.
const maxDepth = 64

// scanner walks over JSON text (RFC 8259) in one pass and checks its grammar. The text
// must be valid UTF-8. Surrogates must come in pairs, RFC 7493 §2.1.
//
// Its errors are CloseMalformed with the byte offset.
type scanner struct {
	buf []byte
	at  int // offset of the next byte
}

// span is where a value lies: buf[start:end], quotes included. Frames are far below 2 GiB.
type span struct{ start, end int32 }

func (s *scanner) bytes(v span) []byte { return s.buf[v.start:v.end] }

// text returns the string that v is, unescaped in place; false when v is no string.
func (s *scanner) text(v span) (string, bool) {
	if s.buf[v.start] != '"' {
		return "", false
	}
	return viewString(unescape(s.buf[v.start+1 : v.end-1])), true
}

func (s *scanner) fail(want string) error {
	return CloseMalformed.Because(fmt.Sprintf("JSON at byte %d: want %s", s.at, want))
}

// peek returns the next byte, or 0 at the end, which no grammar rule takes.
func (s *scanner) peek() byte {
	if s.at < len(s.buf) {
		return s.buf[s.at]
	}
	return 0
}

func (s *scanner) space() {
	for s.at < len(s.buf) {
		switch s.buf[s.at] {
		case ' ', '\n', '\r', '\t':
			s.at++
		default:
			return
		}
	}
}

// end makes sure that only white space is left.
func (s *scanner) end() error {
	s.space()
	if s.at < len(s.buf) {
		return s.fail("nothing more")
	}
	return nil
}

// value skips one value that has depth objects and arrays around it.
func (s *scanner) value(depth int) error {
	switch c := s.peek(); c {
	case '"':
		return s.quoted()
	case '{':
		return s.object(depth + 1)
	case '[':
		return s.array(depth + 1)
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		if c == '-' || digit(c) {
			return s.number()
		}
		return s.fail("a value")
	}
}

func (s *scanner) object(depth int) error {
	if depth > maxDepth {
		return s.fail("at most 64 levels")
	}
	s.at++
	s.space()
	if s.peek() == '}' {
		s.at++
		return nil
	}
	for {
		if _, err := s.name(); err != nil {
			return err
		}
		if err := s.value(depth); err != nil {
			return err
		}
		if more, err := s.comma('}'); !more {
			return err
		}
	}
}

// name skips the name of a member and the colon after it, and returns the name without
// its quotes.
func (s *scanner) name() ([]byte, error) {
	start := s.at + 1
	if s.peek() != '"' {
		return nil, s.fail("a name in quotes")
	}
	if err := s.quoted(); err != nil {
		return nil, err
	}
	name := s.buf[start : s.at-1]
	s.space()
	if s.peek() != ':' {
		return nil, s.fail("':'")
	}
	s.at++
	s.space()
	return name, nil
}

func (s *scanner) array(depth int) error {
	if depth > maxDepth {
		return s.fail("at most 64 levels")
	}
	s.at++
	s.space()
	if s.peek() == ']' {
		s.at++
		return nil
	}
	for {
		if err := s.value(depth); err != nil {
			return err
		}
		if more, err := s.comma(']'); !more {
			return err
		}
	}
}

// comma skips the separator after an element, or the bracket that ends the list.
func (s *scanner) comma(end byte) (more bool, err error) {
	s.space()
	switch s.peek() {
	case ',':
		s.at++
		s.space()
		return true, nil
	case end:
		s.at++
		return false, nil
	default:
		return false, s.fail("',' or '" + string(end) + "'")
	}
}

func (s *scanner) literal(word string) error {
	if len(s.buf)-s.at < len(word) || string(s.buf[s.at:s.at+len(word)]) != word {
		return s.fail(word)
	}
	s.at += len(word)
	return nil
}

func (s *scanner) number() error {
	if s.peek() == '-' {
		s.at++
	}
	if s.peek() == '0' { // no leading zeros
		s.at++
	} else if err := s.digits(); err != nil {
		return err
	}
	if s.peek() == '.' {
		s.at++
		if err := s.digits(); err != nil {
			return err
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.at++
		if c := s.peek(); c == '+' || c == '-' {
			s.at++
		}
		return s.digits()
	}
	return nil
}

func (s *scanner) digits() error {
	if !digit(s.peek()) {
		return s.fail("a digit")
	}
	for digit(s.peek()) {
		s.at++
	}
	return nil
}

func digit(c byte) bool { return c-'0' <= 9 }

// quoted skips one string.
func (s *scanner) quoted() error {
	s.at++
	for {
		s.at += plain(s.buf[s.at:])
		switch s.peek() {
		case '"':
			s.at++
			return nil
		case '\\':
			if err := s.escape(); err != nil {
				return err
			}
		default: // the end, or a control character, which must be escaped
			return s.fail(`'"' or an escape`)
		}
	}
}

// escape skips one escape, or two that are a pair of surrogates.
func (s *scanner) escape() error {
	if s.at+1 < len(s.buf) {
		switch s.buf[s.at+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			s.at += 2
			return nil
		}
	}
	r, n := unicodeEscape(s.buf[s.at:])
	if r == utf8.RuneError && n == 0 {
		return s.fail("an escape that RFC 8259 knows, surrogates in pairs")
	}
	s.at += n
	return nil
}

// plain returns how many bytes at the start of b are ordinary in a JSON string: not a
// quote, not a backslash, not a control character. It looks at eight at a time.
func plain(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		if m := special(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// special returns a word whose lowest set bit is in the lowest byte of w that is a quote,
// a backslash or below 0x20, or 0 when there is none. A borrow can set bits above the
// lowest one; it cannot below. (Bit Twiddling Hacks, "determine if a word has a zero byte"
// and "a byte less than n".)
func special(w uint64) uint64 {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	quote := w ^ ones*'"'
	slash := w ^ ones*'\\'
	return ((quote-ones)&^quote | (slash-ones)&^slash | (w-ones*' ')&^w) & tops
}
