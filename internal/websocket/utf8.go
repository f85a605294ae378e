package websocket

import "encoding/binary"

// utf8Checker validates UTF-8 that comes in pieces, as early as the bytes allow: the first
// byte that no text can have at its place makes write fail. The zero value is at the
// start of a text.
type utf8Checker struct {
	need   uint8 // continuation bytes that the rune under way still needs
	lo, hi uint8 // what the next of them may be
}

const asciiOnly = 0x8080808080808080

// write takes the next bytes and tells whether the text can still be valid.
func (c *utf8Checker) write(p []byte) bool {
	for len(p) > 0 {
		if c.need == 0 {
			for len(p) >= 8 && binary.LittleEndian.Uint64(p)&asciiOnly == 0 {
				p = p[8:]
			}
			for len(p) > 0 && p[0] < 0x80 {
				p = p[1:]
			}
			if len(p) == 0 {
				return true
			}
			if !c.lead(p[0]) {
				return false
			}
			p = p[1:]
			continue
		}
		if p[0] < c.lo || p[0] > c.hi {
			return false
		}
		c.need, c.lo, c.hi = c.need-1, 0x80, 0xBF
		p = p[1:]
	}
	return true
}

// complete tells whether the text may end here.
func (c *utf8Checker) complete() bool { return c.need == 0 }

// lead starts a rune of several bytes. RFC 3629 §4: the second byte's range keeps out
// overlong forms (E0, F0), surrogates (ED) and what is above U+10FFFF (F4).
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
