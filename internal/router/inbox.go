package router

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
)

// ErrInboxClosed ends Inbox.Take.
var ErrInboxClosed = errors.New("the subscription is closed")

// InboxConfig bounds an Inbox. The zero value works.
type InboxConfig struct {
	Messages int `yaml:"messages" help:"messages"`
	Bytes    int `yaml:"bytes" unit:"bytes" help:"sum of topics, payloads and properties"`
}

func (c InboxConfig) withDefaults() InboxConfig {
	if c.Messages <= 0 {
		c.Messages = 1 << 16
	}
	if c.Bytes <= 0 {
		c.Bytes = 64 << 20
	}
	return c
}

// Inbox is the bounded queue of one backend subscriber. When it is full, QoS 0 messages
// are dropped and QoS 1 publishers wait, as many as Config.Waiting lets.
type Inbox struct {
	// Static after construction.
	router  *Router
	config  InboxConfig
	filters []string
	ready   chan struct{} // holds a token while there is something to take, and at times when there is not

	search *Search // for what is retained; nil when all was found. Owned by who calls Take

	// Guarded by mu.
	mu      sync.Mutex
	queue   []*message.Message
	bytes   int
	waiting *Waiting
	dropped uint64
	closed  bool
}

// OpenInbox subscribes a backend to filters, which must be valid, with QoS q at the most.
// With retained, the retained messages that match come first, each once: Take looks for them as
// the backend takes them.
func (r *Router) OpenInbox(config InboxConfig, filters []string, q message.QoS, retained bool) *Inbox {
	b := &Inbox{router: r, config: config.withDefaults(), filters: filters, ready: make(chan struct{}, 1)}
	b.waiting = r.NewWaiting(b.refuse)
	b.mu.Lock() // until the search begins nothing is delivered, so that it finds nothing newer than what is
	for _, f := range filters {
		r.Subscribe(f, b, q)
	}
	if retained {
		b.search = r.Search(asSubscriptions(filters), true)
	}
	b.mu.Unlock()
	return b
}

func asSubscriptions(filters []string) []topic.Subscription {
	subs := make([]topic.Subscription, len(filters))
	for i, f := range filters {
		subs[i].Filter = f
	}
	return subs
}

// Deliver implements Subscriber.
func (b *Inbox) Deliver(m *message.Message, q message.QoS, p *Publication) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.offer(m, q)
	switch {
	case !errors.Is(err, ErrFull):
		return err
	case !b.waiting.Add(m, q, p):
		b.dropped++
		return ErrTooLate
	}
	return nil
}

// Offer implements Member.
func (b *Inbox) Offer(m *message.Message, q message.QoS, _ *Publication) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.offer(m, q)
}

// offer is Offer, locked.
func (b *Inbox) offer(m *message.Message, q message.QoS) error {
	switch {
	case b.closed && ShareOf(m) != "":
		return ErrGone
	case b.closed, b.waiting.Len() == 0 && b.push(m):
		return nil
	case q == message.AtMostOnce:
		b.dropped++
		b.router.Drop(m, "", BackendTooSlow, 1)
		return nil
	}
	return ErrFull
}

// State implements Member: a backend is busy that has not taken all that there was.
func (b *Inbox) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) > 0 {
		return Busy
	}
	return Free
}

// refuse tells those that waited too long.
func (b *Inbox) refuse() {
	b.mu.Lock()
	late := b.waiting.Overdue(time.Now())
	b.dropped += uint64(len(late))
	b.mu.Unlock()
	b.router.Drop(nil, "", QueueFull, len(late))
	Tell(late, ErrTooLate)
}

// push queues m if there is room. One message has room in an empty queue, whatever its size.
func (b *Inbox) push(m *message.Message) bool {
	if len(b.queue) >= b.config.Messages || (b.bytes+m.Size() > b.config.Bytes && len(b.queue) > 0) {
		return false
	}
	b.add(m)
	return true
}

// admit is push for one that waited.
func (b *Inbox) admit(m *message.Message, _ message.QoS) error {
	if !b.push(m) {
		return ErrFull
	}
	return nil
}

func (b *Inbox) add(m *message.Message) {
	b.queue = append(b.queue, m)
	b.bytes += m.Size()
	if !b.closed {
		m.Hold(b.router.config.Account)
	}
	b.signal()
}

// Take waits until there is something and returns all that is there, in order; missed is
// how many the inbox had no room for since the last Take. room is a slice that the inbox may
// use: the last batch, done with. What is there when the inbox is closed can be taken still.
func (b *Inbox) Take(ctx context.Context, room []*message.Message) (batch []*message.Message, missed uint64, err error) {
	clear(room)
	for b.search != nil && ctx.Err() == nil {
		if batch = b.takeRetained(room); len(batch) > 0 {
			return batch, 0, nil
		}
	}
	for {
		select {
		case <-b.ready:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
		batch, missed, err := b.take(room[:0])
		if len(batch) > 0 || err != nil {
			return batch, missed, err
		}
	}
}

// What Take takes at once of what is retained, and how many messages it looks at for it while the
// store is locked.
const (
	retainedBatch = 256
	retainedLooks = 1024
)

// takeRetained takes what the search finds next, which may be nothing.
func (b *Inbox) takeRetained(room []*message.Message) []*message.Message {
	found := slices.Grow(room[:0], retainedBatch)[:0:retainedBatch]
	found, _, _ = b.search.Next(found, retainedLooks, time.Now())
	if b.search.Done() {
		b.search = nil
	}
	return found
}

// take swaps the queue for an empty one and lets those in that wait. An empty queue stays:
// room is used when something is returned, and only then.
func (b *Inbox) take(room []*message.Message) (batch []*message.Message, missed uint64, err error) {
	b.mu.Lock()
	closed := b.closed
	if closed {
		b.signal() // for the next Take
		err = ErrInboxClosed
	}
	if len(b.queue) > 0 {
		batch, b.queue, b.bytes, err = b.queue, room, 0, nil
		missed, b.dropped = b.dropped, 0
	}
	b.mu.Unlock()
	if closed || len(batch) == 0 {
		return batch, missed, err
	}
	b.release(batch)
	for b.admitSome() {
	}
	return batch, missed, nil
}

// admitSome lets in some of those that wait, and reports whether there were any: publishers are not held up by
// a lock for as long as all of them take.
func (b *Inbox) admitSome() bool {
	var admitted []*Claim
	b.mu.Lock()
	if !b.closed { // then Close lets go of them
		admitted = b.waiting.Admit(nil, b.admit)
	}
	b.mu.Unlock()
	Tell(admitted, nil)
	return len(admitted) > 0
}

// release takes messages out of the node's account: they are their subscriber's now. Once the inbox is
// closed nothing of it is in the account.
func (b *Inbox) release(all []*message.Message) {
	for _, m := range all {
		m.Release(b.router.config.Account)
	}
}

// signal has the next Take look.
func (b *Inbox) signal() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// Close ends the subscription. Messages that wait for room are let go: their publishers
// are told that all is well, as for a subscriber that had left before. What came by a share
// goes to its other members, unread first: messages that were taken and came to nobody. Not on a loop.
func (b *Inbox) Close(unread []*message.Message) {
	for _, f := range b.filters {
		b.router.Unsubscribe(f, b)
	}
	held := holdShared(nil, unread)
	b.mu.Lock()
	b.closed = true
	b.release(b.queue)
	held = holdShared(held, b.queue)
	b.queue = slices.DeleteFunc(b.queue, func(m *message.Message) bool { return ShareOf(m) != "" })
	b.mu.Unlock()
	b.signal()
	b.router.Redeliver(held, nil)
	for b.letGo() {
	}
}

// letGo lets go of some of those that wait, and reports whether there were any.
func (b *Inbox) letGo() bool {
	b.mu.Lock()
	left := b.waiting.Take(slice)
	b.mu.Unlock()
	for i := range left {
		if ShareOf(left[i].Message) == "" {
			left[i].Claim.Done(nil)
		} else {
			b.router.Redeliver(left[i:i+1], nil)
		}
	}
	return len(left) > 0
}

// holdShared appends the messages that came by a share.
func holdShared(held []Held, from []*message.Message) []Held {
	for _, m := range from {
		if ShareOf(m) != "" {
			held = append(held, Held{Message: m, QoS: m.QoS})
		}
	}
	return held
}
