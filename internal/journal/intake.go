package journal

import (
	"errors"
	"hash/crc32"
	"slices"
)

// batch is the content of one group: records, and the claims that wait for them. Only its owner calls its
// methods: the intake while the batch fills, then the committer.
type batch struct {
	first  Place
	count  uint32
	buf    []byte        // room for a head, then the records
	claims []func(error) // in the order of the calls
}

// keptBuffer is the largest buffer that is kept although the last batch used little of it.
const keptBuffer = 1 << 20

func newBatch() *batch { return &batch{buf: make([]byte, headSize, sector)} }

func (b *batch) length() int { return len(b.buf) - headSize }

func (b *batch) empty() bool { return b.count == 0 && len(b.claims) == 0 }

// group returns the bytes of the group that h and the records make, valid until the batch is changed.
func (b *batch) group(h head) []byte {
	h.crc = crc32.Checksum(b.buf[headSize:], castagnoli)
	h.append(b.buf[:0])
	size := int(h.size())
	group := slices.Grow(b.buf, size-len(b.buf))[:size]
	clear(group[len(b.buf) : size-headSize])
	h.append(group[:size-headSize])
	b.buf = group[:len(b.buf)]
	return group
}

// leaveBuffer gives b another buffer, because a write that is still under way has this one.
func (b *batch) leaveBuffer() { b.buf = make([]byte, headSize, sector) }

func (b *batch) reset() {
	if c := cap(b.buf); c > keptBuffer && len(b.buf) < c/4 {
		b.buf = make([]byte, headSize, c/2)
	}
	clear(b.claims)
	b.count, b.buf, b.claims = 0, b.buf[:headSize], b.claims[:0]
}

// intake decides which records go into which group and with what result their claims are called. It does no I/O
// and has no lock: it is a state machine that the journal drives under its own lock, and that a test
// drives through all orders of its events.
//
// One batch fills. take makes it the batch that is being written, and settle ends that. After a failure the intake
// accepts nothing until heal: all waiting claims are refused, and their places are assigned again.
type intake struct {
	bound int // most bytes that may wait, with the records' prefixes
	next  Place
	safe  Place // everything before it is on the disk

	filling *batch
	writing *batch // nil while the committer has none
	idle    *batch // the next batch to fill; nil while it is being written

	err     error // why nothing is accepted
	refused bool  // a record or fence was refused: OnRoom is due when there is room
}

func newIntake(bound int, next Place) *intake {
	return &intake{bound: bound, next: next, safe: next, filling: newBatch(), idle: newBatch()}
}

// admit reports whether size more bytes, and one more claim, are accepted.
func (in *intake) admit(size int) error {
	switch {
	case in.err != nil:
		in.refused = true
		return in.err
	case size > in.bound:
		return ErrTooLarge
	case in.filling.length()+size > in.bound, len(in.filling.claims) >= in.bound/recordHead:
		in.refused = true
		return ErrFull
	}
	return nil
}

func (in *intake) append(prefix [recordHead]byte, record []byte, done func(error)) (Place, error) {
	if err := in.admit(recordHead + len(record)); err != nil {
		return 0, err
	}
	b := in.filling
	b.buf = append(append(b.buf, prefix[:]...), record...)
	b.count++
	if done != nil {
		b.claims = append(b.claims, done)
	}
	in.next++
	return in.next - 1, nil
}

func (in *intake) fence(done func(error)) error {
	if err := in.admit(0); err != nil {
		return err
	}
	in.filling.claims = append(in.filling.claims, done)
	return nil
}

// take returns the batch to be written now, nil if there is none; room reports whether callers
// that were refused should be told that there is room.
func (in *intake) take() (b *batch, room bool) {
	if in.writing != nil || in.filling.empty() {
		return nil, false
	}
	in.writing, in.filling, in.idle = in.filling, in.idle, nil
	in.writing.first = in.safe
	room, in.refused = in.refused, false
	return in.writing, room
}

// settle ends the writing of a batch. It returns the claims to call with err, in their order.
func (in *intake) settle(err error) []func(error) {
	b := in.writing
	if err == nil {
		in.safe += Place(b.count)
		return b.claims
	}
	b.claims = append(b.claims, in.filling.claims...)
	in.filling.reset()
	in.next = in.safe
	if in.err == nil {
		in.err = err
	}
	return b.claims
}

// release takes the batch back when its claims have been called.
func (in *intake) release() {
	in.writing.reset()
	in.idle, in.writing = in.writing, nil
}

// heal accepts records again after a failure, unless the journal is closing, and reports whether a caller
// waits for that.
func (in *intake) heal() (room bool) {
	if errors.Is(in.err, ErrClosed) {
		return false
	}
	in.err = nil
	room, in.refused = in.refused, false
	return room
}
