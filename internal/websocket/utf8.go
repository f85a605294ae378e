package websocket

import (
	"encoding/binary"
	"unicode/utf8"
)

// highBits are the bits that no ASCII byte has set.
const highBits = 0x8080808080808080

// skipASCII removes ASCII from the front of p, in steps of 32 and 8 bytes: up to 7 ASCII bytes
// may be left.
func skipASCII(p []byte) []byte {
	for len(p) >= 32 {
		b := (*[32]byte)(p)
		if (word(b[0:8])|word(b[8:16])|word(b[16:24])|word(b[24:32]))&highBits != 0 {
			break
		}
		p = p[32:]
	}
	for len(p) >= 8 && word(p)&highBits == 0 {
		p = p[8:]
	}
	return p
}

func word(p []byte) uint64 { return binary.LittleEndian.Uint64(p) }

// validUTF8 reports whether a complete text is valid.
func validUTF8(p []byte) bool { return utf8.Valid(skipASCII(p)) }

// utf8Checker validates UTF-8 that arrives in pieces, as early as the bytes allow: write fails at the first
// byte that cannot be right at its place. The zero value is at the
// start of a text.
type utf8Checker struct {
	need   uint8 // continuation bytes that the current rune still needs
	lo, hi uint8 // the range of the next of them
}

// write checks the next bytes and reports whether the text can still be valid.
func (c *utf8Checker) write(p []byte) bool {
	for c.need > 0 && len(p) > 0 {
		if !c.step(p[0]) {
			return false
		}
		p = p[1:]
	}
	tail := len(p) - lastRune(p)
	if !validUTF8(p[:tail]) {
		return false
	}
	for _, b := range p[tail:] {
		if !c.step(b) {
			return false
		}
	}
	return true
}

// lastRune returns the size of a possibly unfinished rune at the end of p.
func lastRune(p []byte) int {
	for n := 1; n <= 3 && n <= len(p); n++ {
		if b := p[len(p)-n]; b >= 0xC0 {
			return n
		} else if b < 0x80 {
			return 0
		}
	}
	return 0
}

// step checks one byte.
func (c *utf8Checker) step(b byte) bool {
	if c.need == 0 {
		return b < 0x80 || c.lead(b)
	}
	if b < c.lo || b > c.hi {
		return false
	}
	c.need, c.lo, c.hi = c.need-1, 0x80, 0xBF
	return true
}

// complete reports whether the text may end here.
func (c *utf8Checker) complete() bool { return c.need == 0 }

// lead starts a rune of several bytes. RFC 3629 §4: the range of the second byte excludes
// overlong forms (E0, F0), surrogates (ED) and values above U+10FFFF (F4).
func (c *utf8Checker) lead(b byte) bool {
	c.lo, c.hi = 0x80, 0xBF
	switch {
	case b < 0xC2:
		return false
	case b < 0xE0:
		c.need = 1
	case b < 0xF0:
		c.need = 2
	case b < 0xF5:
		c.need = 3
	default:
		return false
	}
	switch b {
	case 0xE0:
		c.lo = 0xA0
	case 0xED:
		c.hi = 0x9F
	case 0xF0:
		c.lo = 0x90
	case 0xF4:
		c.hi = 0x8F
	}
	return true
}
