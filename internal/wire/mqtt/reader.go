package mqtt

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
	"unsafe"
)

// reader takes fields from the front of a packet's body. After the first error it returns zeros,
// so that it is enough to check err after the last field.
type reader struct {
	b   []byte
	err *Error
}

func (r *reader) fail(e *Error) {
	if r.err == nil {
		r.err, r.b = e, nil
	}
}

// require fails with e unless ok.
func (r *reader) require(ok bool, e *Error) {
	if !ok {
		r.fail(e)
	}
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail(ErrTruncated)
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// uint16 reads a two byte integer, §1.5.2.
func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// uint32 reads a four byte integer, §1.5.3.
func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// id reads a packet identifier. 0 is none [MQTT-2.2.1-3], [MQTT-2.2.1-4], and therefore illegal in
// an answer, too [MQTT-2.2.1-5], [MQTT-2.2.1-6]; [3.1.1 MQTT-2.3.1-1].
func (r *reader) id() uint16 {
	id := r.uint16()
	r.require(id != 0, ErrPacketID)
	return id
}

// varint reads a variable byte integer, §1.5.5.
func (r *reader) varint() int {
	v, n := varint(r.b)
	switch {
	case n == 0:
		r.fail(ErrTruncated)
	case n < 0 || !shortest(r.b[:n]): // [MQTT-1.5.5-1]
		r.fail(ErrVarint)
	default:
		r.b = r.b[n:]
	}
	return v
}

// binary reads binary data, §1.5.6, as a view. It is not nil, even when it is empty.
func (r *reader) binary() []byte { return r.take(int(r.uint16())) }

// text reads a UTF-8 encoded string, §1.5.4, as a view.
func (r *reader) text() string {
	b := r.binary()
	r.require(utf8.Valid(b), ErrUTF8)                 // [MQTT-1.5.4-1] [3.1.1 MQTT-1.5.3-1]
	r.require(bytes.IndexByte(b, 0) < 0, ErrNull)     // [MQTT-1.5.4-2] [3.1.1 MQTT-1.5.3-2]
	return unsafe.String(unsafe.SliceData(b), len(b)) // U+FEFF stays [MQTT-1.5.4-3]
}

// rest returns everything that is left, as a view.
func (r *reader) rest() []byte { return r.take(len(r.b)) }

// varint reads a variable byte integer, §1.5.5: n is its length in bytes; 0 when b ends within
// it, negative when it is longer than four bytes.
func varint(b []byte) (v, n int) {
	for n < len(b) && n < 4 {
		c := b[n]
		v |= int(c&0x7F) << (7 * n)
		n++
		if c < 0x80 {
			return v, n
		}
	}
	if n == 4 {
		return 0, -1
	}
	return 0, 0
}

// shortest reports whether a variable byte integer has no more bytes than it needs.
func shortest(b []byte) bool { return len(b) == 1 || b[len(b)-1] != 0 }
