package jsontext

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// Unescape replaces the escapes of a valid JSON string, without its quotes, in place,
// and returns the shorter text.
func Unescape(b []byte) []byte {
	i := bytes.IndexByte(b, '\\')
	if i < 0 {
		return b
	}
	out := b[:i]
	for i < len(b) {
		if b[i] != '\\' {
			out = append(out, b[i])
			i++
		} else if b[i+1] == 'u' {
			r, n := unicodeEscape(b[i:])
			out = utf8.AppendRune(out, r) // at most 4 bytes where at least 6 were read
			i += n
		} else {
			out = append(out, unescaped(b[i+1]))
			i += 2
		}
	}
	return out
}

// escapeLen returns the length of the escape at the start of b, or of two that are a
// surrogate pair; 0 when there is none.
func escapeLen(b []byte) int {
	if len(b) > 1 {
		switch b[1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			return 2
		}
	}
	_, n := unicodeEscape(b)
	return n
}

// unescaped returns the character that a backslash before c stands for.
func unescaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	default: // quote, backslash, slash
		return c
	}
}

// unicodeEscape reads the \uXXXX at the start of b, or two that are a surrogate pair,
// and returns the rune and the number of bytes read: utf8.RuneError and 0 when there is none.
func unicodeEscape(b []byte) (rune, int) {
	r, ok := hex4(b)
	if !ok {
		return utf8.RuneError, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	low, ok := hex4(b[6:])
	if pair := utf16.DecodeRune(r, low); ok && pair != utf8.RuneError {
		return pair, 12
	}
	return utf8.RuneError, 0
}

// hex4 reads the \uXXXX at the start of b.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case digit(c):
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// AppendString adds s, which is valid UTF-8, as a JSON string.
func AppendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for b := unsafe.Slice(unsafe.StringData(s), len(s)); ; {
		n := SkipPlain(b, 0)
		dst = append(dst, b[:n]...)
		if n == len(b) {
			return append(dst, '"')
		}
		switch c := b[n]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		b = b[n+1:]
	}
}
