package device

import (
	"slices"
	"sync"
	"time"
)

// outgoing is one publication, encoded.
type outgoing struct {
	id       uint64 // 0 at QoS 0
	frame    []byte
	deadline time.Time  // after which it is not sent any more; zero is never
	done     chan error // gets the outcome, once; has room for it
}

// outbox keeps publications in order: those of QoS 1 until they are acknowledged, those of
// QoS 0 until they are taken for writing. Safe from any goroutine.
type outbox struct {
	// Static after construction.
	maxMessages, maxBytes int
	ready                 chan struct{} // has one element when there may be something to take

	// Guarded by mu.
	mu     sync.Mutex
	queue  []*outgoing
	taken  int // queue[:taken] were written on this connection and await their acks
	bytes  int
	sealed error         // what refuses additions
	empty  chan struct{} // of seal; closed when nothing is left
}

func newOutbox(messages, bytes int) *outbox {
	return &outbox{maxMessages: messages, maxBytes: bytes, ready: make(chan struct{}, 1)}
}

// add appends o, or says why not.
func (b *outbox) add(o *outgoing) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sealed != nil {
		return b.sealed
	}
	if len(b.queue) >= b.maxMessages || b.bytes+len(o.frame) > b.maxBytes {
		return ErrBufferFull
	}
	b.queue = append(b.queue, o)
	b.bytes += len(o.frame)
	b.wake()
	return nil
}

func (b *outbox) wake() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// rewind begins a new connection: what is not acknowledged is to be sent again, in order.
func (b *outbox) rewind() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken = 0
}

// take returns the next publication to write, or nil. One of QoS 0 is the taker's to end;
// what expired meanwhile is ended here.
func (b *outbox) take(now time.Time) *outgoing {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.taken < len(b.queue) {
		o := b.queue[b.taken]
		switch {
		case !o.deadline.IsZero() && now.After(o.deadline):
			b.remove(b.taken)
			o.done <- ErrExpired
		case o.id == 0:
			b.remove(b.taken)
			return o
		default:
			b.taken++
			return o
		}
	}
	return nil
}

// settle ends the publication that an ack names; err is nil or the refusal. An id that is
// not awaited is the second ack of a message sent twice.
func (b *outbox) settle(id uint64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.queue[:b.taken], func(o *outgoing) bool { return o.id == id })
	if i < 0 {
		return
	}
	o := b.queue[i]
	b.remove(i)
	b.taken--
	o.done <- err
}

// remove takes out element i. The caller holds mu.
func (b *outbox) remove(i int) {
	b.bytes -= len(b.queue[i].frame)
	b.queue = slices.Delete(b.queue, i, i+1)
	if b.empty != nil && len(b.queue) == 0 {
		close(b.empty)
		b.empty = nil
	}
}

// seal refuses additions with err from now on. The channel is closed when nothing is left.
func (b *outbox) seal(err error) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sealed == nil {
		b.sealed = err
	}
	if b.empty == nil {
		b.empty = make(chan struct{})
	}
	empty := b.empty
	if len(b.queue) == 0 {
		close(b.empty)
		b.empty = nil
	}
	return empty
}

// discard seals the outbox and ends what is left with err; it returns how many they were.
func (b *outbox) discard(err error) int {
	b.seal(err)
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.queue)
	for len(b.queue) > 0 {
		o := b.queue[0]
		b.remove(0)
		o.done <- err
	}
	b.taken = 0
	return n
}
