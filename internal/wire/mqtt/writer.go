package mqtt

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// writer appends fields to a packet. err is the first error.
type writer struct {
	b   []byte
	err *Error
}

func (w *writer) byte(c byte)     { w.b = append(w.b, c) }
func (w *writer) uint16(v uint16) { w.b = binary.BigEndian.AppendUint16(w.b, v) }
func (w *writer) uint32(v uint32) { w.b = binary.BigEndian.AppendUint32(w.b, v) }

// varint writes a variable byte integer, §1.5.5, which is encoded as in protobuf, up to 28 bits.
func (w *writer) varint(v int) { w.b = binary.AppendUvarint(w.b, uint64(v)) }

// id writes a packet identifier.
func (w *writer) id(id uint16) {
	w.require(id != 0, ErrPacketID)
	w.uint16(id)
}

// text writes a UTF-8 encoded string, §1.5.4.
func (w *writer) text(s string) {
	w.require(len(s) <= math.MaxUint16, ErrTooLong)
	w.require(utf8.ValidString(s), ErrUTF8)         // [MQTT-1.5.4-1]
	w.require(strings.IndexByte(s, 0) < 0, ErrNull) // [MQTT-1.5.4-2]
	w.uint16(uint16(len(s)))
	w.b = append(w.b, s...)
}

// binary writes binary data, §1.5.6.
func (w *writer) binary(b []byte) {
	w.require(len(b) <= math.MaxUint16, ErrTooLong)
	w.uint16(uint16(len(b)))
	w.b = append(w.b, b...)
}

// length inserts, at the offset at, the length of what was written since then plus follows, the bytes that are still
// to come, as a variable byte integer.
func (w *writer) length(at, follows int) {
	n := len(w.b) - at + follows
	if n > maxRemaining {
		w.require(false, ErrTooLarge)
		return
	}
	var room [4]byte
	w.b = slices.Insert(w.b, at, room[:binary.PutUvarint(room[:], uint64(n))]...)
}

// require fails with e unless ok.
func (w *writer) require(ok bool, e *Error) {
	if !ok && w.err == nil {
		w.err = e
	}
}
