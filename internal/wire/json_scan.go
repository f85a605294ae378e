package wire

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// The functions below scan JSON text (RFC 8259) that is valid UTF-8, and check its
// syntax. They take the text and the offset at which something starts, and return the offset
// after it. If it is not there, they return the offset of the wrong byte and, in want, what
// they expected instead; otherwise want is empty.
//
// Surrogates must come in pairs, RFC 7493 §2.1.

// maxDepth bounds the nesting of objects and arrays, including the packet's own object.
const maxDepth = 64

// malformed returns the error for a wrong byte.
func malformed(at int, want string) error {
	return CloseMalformed.Because(fmt.Sprintf("JSON at byte %d: want %s", at, want))
}

// byteAt returns b[i], or 0 at the end, which no rule of the syntax accepts.
func byteAt(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return 0
}

func skipSpace(b []byte, i int) int {
	const space = 1<<' ' | 1<<'\n' | 1<<'\r' | 1<<'\t'
	for i < len(b) && b[i] <= ' ' && space&(1<<b[i]) != 0 {
		i++
	}
	return i
}

// skipValue skips one value that has depth objects and arrays around it.
func skipValue(b []byte, i, depth int) (end int, want string) {
	switch c := byteAt(b, i); c {
	case '"':
		return skipString(b, i)
	case '{':
		return skipList(b, i, '}', depth+1)
	case '[':
		return skipList(b, i, ']', depth+1)
	case 't':
		return skipLiteral(b, i, "true")
	case 'f':
		return skipLiteral(b, i, "false")
	case 'n':
		return skipLiteral(b, i, "null")
	default:
		if c == '-' || digit(c) {
			return skipNumber(b, i)
		}
		return i, "a value"
	}
}

// skipList skips an object or array that ends with the byte last.
func skipList(b []byte, i int, last byte, depth int) (end int, want string) {
	if depth > maxDepth {
		return i, "at most 64 levels"
	}
	i = skipSpace(b, i+1)
	if byteAt(b, i) == last {
		return i + 1, ""
	}
	for more := true; more; {
		if last == '}' {
			if i, want = skipName(b, i); want != "" {
				return i, want
			}
		}
		if i, want = skipValue(b, i, depth); want != "" {
			return i, want
		}
		if i, more, want = skipComma(b, i, last); want != "" {
			return i, want
		}
	}
	return i, ""
}

// skipName skips the name of a member, the colon and the space in front of the value.
func skipName(b []byte, i int) (end int, want string) {
	if byteAt(b, i) != '"' {
		return i, "a name in quotes"
	}
	if i, want = skipString(b, i); want != "" {
		return i, want
	}
	return skipColon(b, i)
}

func skipColon(b []byte, i int) (end int, want string) {
	i = skipSpace(b, i)
	if byteAt(b, i) != ':' {
		return i, "':'"
	}
	return skipSpace(b, i+1), ""
}

// skipComma skips the comma and the space in front of the next element, or the byte last at the
// end of the list; more reports whether there is a next element.
func skipComma(b []byte, i int, last byte) (end int, more bool, want string) {
	i = skipSpace(b, i)
	switch byteAt(b, i) {
	case ',':
		return skipSpace(b, i+1), true, ""
	case last:
		return i + 1, false, ""
	default:
		return i, false, "',' or '" + string(last) + "'"
	}
}

func skipLiteral(b []byte, i int, word string) (end int, want string) {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return i, word
	}
	return i + len(word), ""
}

func skipNumber(b []byte, i int) (end int, want string) {
	if b[i] == '-' {
		i++
	}
	start := i
	if byteAt(b, i) == '0' { // no leading zeros
		i++
	} else {
		i = skipDigits(b, i)
	}
	if i > start && byteAt(b, i) == '.' {
		start = i + 1
		i = skipDigits(b, start)
	}
	if i > start && byteAt(b, i)|0x20 == 'e' {
		start = i + 1
		if c := byteAt(b, start); c == '+' || c == '-' {
			start++
		}
		i = skipDigits(b, start)
	}
	if i == start {
		return i, "a digit"
	}
	return i, ""
}

func skipDigits(b []byte, i int) int {
	for i < len(b) && digit(b[i]) {
		i++
	}
	return i
}

func digit(c byte) bool { return c-'0' <= 9 }

func skipString(b []byte, i int) (end int, want string) {
	i++
	for {
		i = skipPlain(b, i)
		switch byteAt(b, i) {
		case '"':
			return i + 1, ""
		case '\\':
			n := escapeLen(b[i:])
			if n == 0 {
				return i, "an escape of RFC 8259, surrogates in pairs"
			}
			i += n
		default: // the end, or a control character, which must be escaped
			return i, `'"' or an escape`
		}
	}
}

// skipPlain skips the bytes of a string that stand for themselves: not a quote, a backslash or a
// control character. It checks eight at a time.
func skipPlain(b []byte, i int) int {
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
// a backslash or below 0x20, or 0 when there is none. A borrow can set wrong bits above the
// lowest one, but not below. (Bit Twiddling Hacks, "determine if a word has a zero byte"
// and "a byte less than n".)
func special(w uint64) uint64 {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	quote := w ^ ones*'"'
	slash := w ^ ones*'\\'
	return ((quote-ones)&^quote | (slash-ones)&^slash | (w-ones*' ')&^w) & tops
}
