package websocket

import "encoding/binary"

// Opcode is the kind of a frame, RFC 6455 §5.2.
type Opcode uint8

const (
	Continuation Opcode = 0x0 // never the Op of an event, where 0 means that there is none yet
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = 0x8
	Ping         Opcode = 0x9
	Pong         Opcode = 0xA
)

// control reports whether op is a control frame's, also a reserved one, RFC 6455 §5.5.
func (op Opcode) control() bool { return op&0x8 != 0 }

// The first two bytes of a frame, RFC 6455 §5.2.
const (
	bitFin  = 0x80
	bitRSV1 = 0x40
	bitsRSV = 0x70
	bitsOp  = 0x0F

	bitMask = 0x80
	bitsLen = 0x7F
	len16   = 126 // the length follows in 16 bits
	len64   = 127 // the length follows in 64 bits

	maxControl = 125 // payload bytes, RFC 6455 §5.5

	// MaxHeader is the largest size of a frame's header: Next leaves at most one byte less
	// unread.
	MaxHeader = 14
)

// header is the header of one frame. It has so few fields that they fit into registers.
type header struct {
	first, second byte   // as received
	key           uint32 // masking key, its first byte in the lowest bits; only if masked
	length        uint64 // payload bytes
}

func (h header) op() Opcode   { return Opcode(h.first & bitsOp) }
func (h header) fin() bool    { return h.first&bitFin != 0 }
func (h header) rsv() byte    { return h.first & bitsRSV }
func (h header) masked() bool { return h.second&bitMask != 0 }
func (h header) short() byte  { return h.second & bitsLen }

// parseHeader reads the header at the beginning of p and returns its size, 0
// if p does not hold all of it.
func parseHeader(p []byte) (h header, n int) {
	if len(p) < 2 {
		return header{}, 0
	}
	h.first, h.second, n = p[0], p[1], 2
	switch short := h.short(); short {
	case len16:
		if len(p) < 4 {
			return header{}, 0
		}
		h.length, n = uint64(binary.BigEndian.Uint16(p[2:])), 4
	case len64:
		if len(p) < 10 {
			return header{}, 0
		}
		h.length, n = binary.BigEndian.Uint64(p[2:]), 10
	default:
		h.length = uint64(short)
	}
	if h.masked() {
		if len(p) < n+4 {
			return header{}, 0
		}
		h.key = binary.LittleEndian.Uint32(p[n:])
		n += 4
	}
	return h, n
}

// appendHeader appends an unmasked header with the given first byte, and its length in the shortest
// form.
func appendHeader(dst []byte, first byte, length int) []byte {
	switch {
	case length <= 125:
		return append(dst, first, byte(length))
	case length <= 0xFFFF:
		return append(dst, first, len16, byte(length>>8), byte(length))
	}
	return binary.BigEndian.AppendUint64(append(dst, first, len64), uint64(length))
}

// appendMaskedHeader is appendHeader with a masking key.
func appendMaskedHeader(dst []byte, first byte, length int, key uint32) []byte {
	at := len(dst) + 1
	dst = appendHeader(dst, first, length)
	dst[at] |= bitMask
	return binary.LittleEndian.AppendUint32(dst, key)
}
