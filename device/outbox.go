package device

import (
	"slices"
	"sync"
	"time"
)

// outgoing is one publication, encoded.
type outgoing struct {
	id       uint64 // 0 for QoS 0
	frame    []byte
	deadline time.Time  // after which it is not sent any more; zero means no deadline
	done     chan error // gets the outcome, once; the channel has room for it
}

func (o *outgoing) expired(now time.Time) bool {
	return !o.deadline.IsZero() && now.After(o.deadline)
}

// outbox keeps publications in order: QoS 1 until they are acknowledged,
// QoS 0 until they are written. Safe from any goroutine.
type outbox struct {
	// Static after construction.
	maxMessages, maxBytes int
	ready                 chan struct{} // has an element if there may be something to take

	// Guarded by mu.
	mu     sync.Mutex
	queue  []*outgoing
	taken  int // queue[:taken] were taken for this connection and wait for their acks
	alone  int // publications still to be sent one by one, because the gateway closed a connection because of one of them
	bytes  int
	sealed error         // refuses additions; nil while open
	empty  chan struct{} // made by seal; closed when nothing is left
}

func newOutbox(messages, bytes int) *outbox {
	return &outbox{maxMessages: messages, maxBytes: bytes, ready: make(chan struct{}, 1)}
}

// add appends o, or returns why not. If there is no room, it first removes what has expired.
func (b *outbox) add(o *outgoing, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sealed != nil {
		return b.sealed
	}
	if !b.fits(o) {
		b.expire(now)
	}
	if !b.fits(o) {
		return ErrBufferFull
	}
	b.queue = append(b.queue, o)
	b.bytes += len(o.frame)
	b.wake()
	return nil
}

func (b *outbox) fits(o *outgoing) bool {
	return len(b.queue) < b.maxMessages && b.bytes+len(o.frame) <= b.maxBytes
}

// expire ends publications that have expired and were not taken.
func (b *outbox) expire(now time.Time) {
	for i := b.taken; i < len(b.queue); {
		if o := b.queue[i]; o.expired(now) {
			b.remove(i)
			o.done <- ErrExpired
		} else {
			i++
		}
	}
}

func (b *outbox) wake() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// rewind is called when a connection has ended: everything that was not acknowledged will be sent again, in order. If the gateway
// closed the connection because of a publication, offence says why; otherwise it is nil. After an offence each publication is
// sent alone, to find the one that would end every further connection.
func (b *outbox) rewind(offence error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case offence == nil:
	case b.alone > 0 && b.taken == 1:
		o := b.queue[0]
		b.remove(0)
		b.alone--
		o.done <- offence
	default:
		b.alone = b.taken
	}
	b.taken = 0
}

// take returns the next publication to write, or nil. It ends those that have expired.
func (b *outbox) take(now time.Time) *outgoing {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.taken < len(b.queue) && (b.alone == 0 || b.taken == 0) {
		o := b.queue[b.taken]
		if !o.expired(now) {
			b.taken++
			return o
		}
		b.remove(b.taken)
		o.done <- ErrExpired
	}
	return nil
}

// written notes whether o was written. For QoS 0, that is the outcome.
func (b *outbox) written(o *outgoing, err error) {
	if o.id == 0 {
		b.end(err, func(q *outgoing) bool { return q == o })
	}
}

// settle ends the publication that an ack names; err is nil or the refusal. It ignores an unknown id,
// which is the second ack of a message that was sent twice.
func (b *outbox) settle(id uint64, err error) {
	b.end(err, func(q *outgoing) bool { return q.id == id })
}

// end ends the first taken publication for which the function returns true, if there is one.
func (b *outbox) end(err error, is func(*outgoing) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.queue[:b.taken], is)
	if i < 0 {
		return
	}
	o := b.queue[i]
	b.remove(i)
	b.taken--
	o.done <- err
	if o.id != 0 && b.alone > 0 {
		b.alone--
		b.wake()
	}
}

// remove removes element i. The caller holds mu.
func (b *outbox) remove(i int) {
	b.bytes -= len(b.queue[i].frame)
	b.queue = slices.Delete(b.queue, i, i+1)
	if b.empty != nil && len(b.queue) == 0 {
		close(b.empty)
		b.empty = nil
	}
}

// seal makes add fail with err from now on. It returns a channel that is closed when nothing is left.
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

// discard seals the outbox, ends the publications in it with err, and returns their number.
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
