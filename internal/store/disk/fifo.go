package disk

import "encoding/binary"

// fifo holds pieces of bytes, first in, first out, in one buffer, and a place among them.
type fifo struct {
	buf      []byte // each piece behind its length
	from, at int    // where the first piece, and the piece at the place, begin
	n        int    // pieces
}

const pieceHead = 4

// keptBuffer is the size of a buffer that an empty fifo keeps.
const keptBuffer = 1 << 20

func (f *fifo) push(p []byte) {
	if len(f.buf)+pieceHead+len(p) > cap(f.buf) && f.from > len(f.buf)/2 {
		n := copy(f.buf, f.buf[f.from:])
		f.buf = f.buf[:n]
		f.from, f.at = 0, f.at-f.from
	}
	f.buf = binary.LittleEndian.AppendUint32(f.buf, uint32(len(p)))
	f.buf = append(f.buf, p...)
	f.n++
}

// next returns the piece at the place, valid until push.
func (f *fifo) next() []byte { return f.piece(f.at) }

func (f *fifo) piece(at int) []byte {
	size := int(binary.LittleEndian.Uint32(f.buf[at:]))
	return f.buf[at+pieceHead:][:size]
}

// advance moves the place behind the piece there.
func (f *fifo) advance() { f.at += pieceHead + len(f.next()) }

// again moves the place to the first piece.
func (f *fifo) again() { f.at = f.from }

// pop removes the first piece, which is before the place.
func (f *fifo) pop() {
	f.from += pieceHead + len(f.piece(f.from))
	if f.n--; f.n > 0 {
		return
	}
	f.from, f.at, f.buf = 0, 0, f.buf[:0]
	if cap(f.buf) > keptBuffer {
		f.buf = nil
	}
}
