// Package jsontext scans JSON text, RFC 8259, and writes JSON strings. It allocates nothing.
//
// Functions named Skip scan text that is valid UTF-8, and check its
// syntax. They take the text and the offset at which something starts, and return the offset
// after it. If it is not there, they return the offset of the wrong byte and, in want, what
// they expected instead; otherwise want is empty.
//
// Surrogates must come in pairs, RFC 7493 §2.1.
package jsontext

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// MaxDepth bounds the nesting of objects and arrays.
const MaxDepth = 64

// InvalidAt returns the offset of the first byte of b that is not UTF-8, or the length of b.
func InvalidAt(b []byte) int {
	for at := 0; at < len(b); {
		r, n := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && n <= 1 {
			return at
		}
		at += n
	}
	return len(b)
}

// ByteAt returns b[i], or 0 at the end, which no rule of the syntax accepts.
func ByteAt(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return 0
}

// SkipSpace skips white space.
func SkipSpace(b []byte, i int) int {
	const space = 1<<' ' | 1<<'\n' | 1<<'\r' | 1<<'\t'
	for i < len(b) && b[i] <= ' ' && space&(1<<b[i]) != 0 {
		i++
	}
	return i
}

// SkipValue skips one value that has depth objects and arrays around it.
func SkipValue(b []byte, i, depth int) (end int, want string) {
	switch c := ByteAt(b, i); c {
	case '"':
		return SkipString(b, i)
	case '{':
		return skipList(b, i, '}', depth+1)
	case '[':
		return skipList(b, i, ']', depth+1)
	case 't':
		return SkipLiteral(b, i, "true")
	case 'f':
		return SkipLiteral(b, i, "false")
	case 'n':
		return SkipLiteral(b, i, "null")
	default:
		if c == '-' || digit(c) {
			return SkipNumber(b, i)
		}
		return i, "a value"
	}
}

// skipList skips an object or array that ends with the byte last.
func skipList(b []byte, i int, last byte, depth int) (end int, want string) {
	if depth > MaxDepth {
		return i, "at most 64 levels"
	}
	i = SkipSpace(b, i+1)
	if ByteAt(b, i) == last {
		return i + 1, ""
	}
	for more := true; more; {
		if last == '}' {
			if i, want = skipName(b, i); want != "" {
				return i, want
			}
		}
		if i, want = SkipValue(b, i, depth); want != "" {
			return i, want
		}
		if i, more, want = SkipComma(b, i, last); want != "" {
			return i, want
		}
	}
	return i, ""
}

// skipName skips the name of a member, the colon and the space in front of the value.
func skipName(b []byte, i int) (end int, want string) {
	if ByteAt(b, i) != '"' {
		return i, "a name in quotes"
	}
	if i, want = SkipString(b, i); want != "" {
		return i, want
	}
	return SkipColon(b, i)
}

// SkipColon skips a colon and the space around it.
func SkipColon(b []byte, i int) (end int, want string) {
	i = SkipSpace(b, i)
	if ByteAt(b, i) != ':' {
		return i, "':'"
	}
	return SkipSpace(b, i+1), ""
}

// SkipComma skips the comma and the space in front of the next element, or the byte last at the
// end of the list; more reports whether there is a next element.
func SkipComma(b []byte, i int, last byte) (end int, more bool, want string) {
	i = SkipSpace(b, i)
	switch ByteAt(b, i) {
	case ',':
		return SkipSpace(b, i+1), true, ""
	case last:
		return i + 1, false, ""
	default:
		return i, false, "',' or '" + string(last) + "'"
	}
}

// SkipLiteral skips a word.
func SkipLiteral(b []byte, i int, word string) (end int, want string) {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return i, word
	}
	return i + len(word), ""
}

// SkipNumber skips a number. There is a minus or a digit at i.
func SkipNumber(b []byte, i int) (end int, want string) {
	if b[i] == '-' {
		i++
	}
	start := i
	if ByteAt(b, i) == '0' { // no leading zeros
		i++
	} else {
		i = skipDigits(b, i)
	}
	if i > start && ByteAt(b, i) == '.' {
		start = i + 1
		i = skipDigits(b, start)
	}
	if i > start && ByteAt(b, i)|0x20 == 'e' {
		start = i + 1
		if c := ByteAt(b, start); c == '+' || c == '-' {
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

// SkipString skips a string. There is a quote at i.
func SkipString(b []byte, i int) (end int, want string) {
	i++
	for {
		i = SkipPlain(b, i)
		switch ByteAt(b, i) {
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

// SkipPlain skips the bytes of a string that stand for themselves: not a quote, a backslash or a
// control character. It checks eight at a time.
func SkipPlain(b []byte, i int) int {
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
