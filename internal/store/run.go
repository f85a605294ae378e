package store

import (
	"bytes"
	"encoding/binary"

	"github.com/longline/longline/internal/message"
)

// runLength bounds a run, so that it takes little time to change one.
const runLength = 128

// run is a part of a queue: messages that are on the medium alone, oldest first. In memory is what the queue has to know of them,
// a few bytes each.
//
// A packed message is one byte: a bit each for QoS 2, for a share, for an identifier, and for the size of the message before; then
// four bits for how much its number is above that of the message before, 0 if that is more than 15 and follows as a varint. Then
// its size, a varint, unless it is that of the message before; how much later than that it is due, a zigzag varint; and its
// identifier, two bytes, if it has one.
type run struct {
	n, shared    int   // messages, and how many of them came by a share
	soonest      int64 // Unix milliseconds before which none expires
	before, last base  // of the first message, and the last message
	packed       []byte
}

// base is what the next packed message is told against.
type base struct {
	number uint64
	due    int64
	size   int
}

func (o *Owed) base() base { return base{o.Number, o.Due, o.Size} }

const (
	packedQoS2    = 1 << 0
	packedShared  = 1 << 1
	packedID      = 1 << 2
	packedSize    = 1 << 3
	packedNumber  = 4 // bits before the number
	packedNumbers = 1<<(8-packedNumber) - 1
)

func newRun(o *Owed) *run {
	b := base{o.Number - 1, o.Due, 0}
	return &run{before: b, last: b, soonest: never}
}

// add appends a message. Its number is higher than those of the others.
func (r *run) add(o *Owed) {
	r.n++
	r.soonest = min(r.soonest, o.Due)
	var head byte
	if o.QoS == message.ExactlyOnce {
		head |= packedQoS2
	}
	if o.Shared {
		head |= packedShared
		r.shared++
	}
	if o.Packet != 0 {
		head |= packedID
	}
	if o.Size == r.last.size {
		head |= packedSize
	}
	ahead := o.Number - r.last.number
	if ahead <= packedNumbers {
		head |= byte(ahead << packedNumber)
	}
	r.packed = append(r.packed, head)
	if ahead > packedNumbers {
		r.packed = binary.AppendUvarint(r.packed, ahead)
	}
	if o.Size != r.last.size {
		r.packed = binary.AppendUvarint(r.packed, uint64(o.Size))
	}
	r.packed = binary.AppendVarint(r.packed, o.Due-r.last.due)
	if o.Packet != 0 {
		r.packed = binary.BigEndian.AppendUint16(r.packed, o.Packet)
	}
	if r.last = o.base(); r.n == runLength {
		r.packed = bytes.Clone(r.packed) // without room for more
	}
}

// unpack returns the first message of p, and how many bytes it takes.
func (b base) unpack(p []byte) (o Owed, size int) {
	head := p[0]
	at := 1
	uvarint := func() uint64 {
		v, n := binary.Uvarint(p[at:])
		at += n
		return v
	}
	ahead := uint64(head >> packedNumber)
	if ahead == 0 {
		ahead = uvarint()
	}
	o = Owed{Number: b.number + ahead, Size: b.size, QoS: message.AtLeastOnce, Shared: head&packedShared != 0}
	if head&packedSize == 0 {
		o.Size = int(uvarint())
	}
	later, n := binary.Varint(p[at:])
	at += n
	o.Due = b.due + later
	if head&packedQoS2 != 0 {
		o.QoS = message.ExactlyOnce
	}
	if head&packedID != 0 {
		o.Packet = binary.BigEndian.Uint16(p[at:])
		at += 2
	}
	return o, at
}

// first returns the oldest message.
func (r *run) first() Owed {
	o, _ := r.before.unpack(r.packed)
	return o
}

// pop removes the oldest message.
func (r *run) pop() Owed {
	o, n := r.before.unpack(r.packed)
	r.packed, r.before = r.packed[n:], o.base()
	r.n--
	if o.Shared {
		r.shared--
	}
	return o
}

// all yields the messages, oldest first.
func (r *run) all(yield func(*Owed) bool) {
	b := r.before
	for p := r.packed; len(p) > 0; {
		o, n := b.unpack(p)
		if p, b = p[n:], o.base(); !yield(&o) {
			return
		}
	}
}
