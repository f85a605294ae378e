package websocket

import "encoding/binary"

// Opcode is the kind of a frame, RFC 6455 §5.2.
type Opcode uint8

const (
	Continuation Opcode = 0x0 // never the Op of an event: there it means "none yet"
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = 0x8
	Ping         Opcode = 0x9
	Pong         Opcode = 0xA
)

// control tells whether op is, or will be, a control frame's, RFC 6455 §5.5.
func (op Opcode) control() bool { return op&0x8 != 0 }

const (
	bitFin  = 0x80
	bitRSV1 = 0x40
	bitRSV  = 0x70
	bitMask = 0x80

	maxControl = 125 // payload bytes, RFC 6455 §5.5

	// MaxHeader is the most bytes that a frame's header has: the most that Next leaves
	// unread is one less.
	MaxHeader = 14
)

// Header is the header of one frame, RFC 6455 §5.2.
type Header struct {
	Length uint64 // payload bytes
	Key    uint32 // masking key, its first byte the lowest; only when Masked
	Op     Opcode
	RSV    uint8 // RSV1 is 4, RSV2 is 2, RSV3 is 1
	Fin    bool
	Masked bool

	// lengthSize is how many bytes the length took on the wire after the second byte:
	// 0, 2 or 8.
	lengthSize uint8
}

// parseHeader reads a header at the front of p and returns the bytes that it takes, 0
// when p does not hold all of it.
func parseHeader(p []byte) (h Header, n int) {
	if len(p) < 2 {
		return h, 0
	}
	h.Op = Opcode(p[0] & 0x0F)
	h.RSV = p[0] & bitRSV >> 4
	h.Fin = p[0]&bitFin != 0
	h.Masked = p[1]&bitMask != 0
	n = 2
	switch short := p[1] &^ bitMask; short {
	case 126:
		if len(p) < 4 {
			return h, 0
		}
		h.Length, h.lengthSize, n = uint64(binary.BigEndian.Uint16(p[2:])), 2, 4
	case 127:
		if len(p) < 10 {
			return h, 0
		}
		h.Length, h.lengthSize, n = binary.BigEndian.Uint64(p[2:]), 8, 10
	default:
		h.Length = uint64(short)
	}
	if h.Masked {
		if len(p) < n+4 {
			return h, 0
		}
		h.Key = binary.LittleEndian.Uint32(p[n:])
		n += 4
	}
	return h, n
}

// AppendHeader adds the header, its length in the shortest form.
func AppendHeader(dst []byte, h Header) []byte {
	first, mask := byte(h.Op)|h.RSV<<4, byte(0)
	if h.Fin {
		first |= bitFin
	}
	if h.Masked {
		mask = bitMask
	}
	switch {
	case h.Length <= 125:
		dst = append(dst, first, mask|byte(h.Length))
	case h.Length <= 0xFFFF:
		dst = append(dst, first, mask|126, byte(h.Length>>8), byte(h.Length))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, first, mask|127), h.Length)
	}
	if h.Masked {
		dst = binary.LittleEndian.AppendUint32(dst, h.Key)
	}
	return dst
}
