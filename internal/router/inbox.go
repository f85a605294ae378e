package router

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/longline/longline/internal/message"
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
// are dropped and QoS 1 publishers wait.
type Inbox struct {
	// Static after construction.
	router  *Router
	config  InboxConfig
	filters []string
	ready   chan struct{} // holds a token while there is something to take

	// Guarded by mu.
	mu      sync.Mutex
	queue   []*message.Message
	bytes   int
	waiting Waiting
	dropped uint64
	closed  bool
}

// OpenInbox subscribes a backend to filters, which must be valid, with QoS q at the most.
// With retained, the retained messages that match come first.
func (r *Router) OpenInbox(config InboxConfig, filters []string, q message.QoS, retained bool) (*Inbox, error) {
	b := &Inbox{router: r, config: config.withDefaults(), filters: filters, ready: make(chan struct{}, 1)}
	if retained {
		for _, f := range filters {
			if err := r.Retained(f, func(m *message.Message) bool { return b.Deliver(m, q) == nil }); err != nil {
				return nil, err
			}
		}
	}
	for _, f := range filters {
		r.Subscribe(f, b, q)
	}
	return b, nil
}

// Deliver implements Subscriber.
func (b *Inbox) Deliver(m *message.Message, q message.QoS) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	if b.waiting.Len() == 0 && b.push(m) {
		return nil
	}
	if q == message.AtMostOnce {
		b.dropped++
		b.router.Drops.Add(BackendTooSlow, 1)
		return nil
	}
	return ErrFull
}

// Wait implements Subscriber.
func (b *Inbox) Wait(m *message.Message, q message.QoS, t *Ticket) {
	b.mu.Lock()
	if !b.closed && (b.waiting.Len() > 0 || !b.push(m)) {
		if b.waiting.Len() == 0 {
			time.AfterFunc(time.Until(t.Deadline), b.refuse)
		}
		b.waiting.Add(m, q, t)
		b.mu.Unlock()
		return
	}
	b.mu.Unlock()
	t.Done(nil)
}

// refuse tells those that waited too long, and looks again when the next is due.
func (b *Inbox) refuse() {
	b.mu.Lock()
	late := b.waiting.Overdue(time.Now())
	if b.waiting.Len() > 0 {
		time.AfterFunc(time.Until(b.waiting.line[0].t.Deadline), b.refuse)
	}
	b.mu.Unlock()
	Tell(late, ErrTooLate)
}

// push queues m if there is room.
func (b *Inbox) push(m *message.Message) bool {
	if len(b.queue) >= b.config.Messages || (b.bytes+m.Size() > b.config.Bytes && len(b.queue) > 0) {
		return false
	}
	b.queue = append(b.queue, m)
	b.bytes += m.Size()
	b.signal()
	return true
}

// Take waits until there is something and returns all that is there, in order; missed is
// how many were dropped since the last Take. room is a slice that the inbox may use: the
// last batch, done with.
func (b *Inbox) Take(ctx context.Context, room []*message.Message) (batch []*message.Message, missed uint64, err error) {
	clear(room)
	for {
		select {
		case <-b.ready:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
		batch, missed, closed := b.take(room[:0])
		if len(batch) > 0 {
			return batch, missed, nil
		}
		if closed {
			b.signal()
			return nil, 0, ErrInboxClosed
		}
	}
}

// take swaps the queue for an empty one and lets those in that wait.
func (b *Inbox) take(room []*message.Message) (batch []*message.Message, missed uint64, closed bool) {
	b.mu.Lock()
	batch, b.queue = b.queue, room
	missed, b.dropped = b.dropped, 0
	b.bytes = 0
	admitted := b.waiting.Admit(func(m *message.Message, _ message.QoS) bool { return b.push(m) })
	closed = b.closed
	b.mu.Unlock()
	Tell(admitted, nil)
	return batch, missed, closed
}

// signal has the next Take look.
func (b *Inbox) signal() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// Close ends the subscription. Messages that wait for room are let go: their publishers
// are told that all is well, as for a subscriber that had left before.
func (b *Inbox) Close() {
	for _, f := range b.filters {
		b.router.Unsubscribe(f, b)
	}
	b.mu.Lock()
	b.closed = true
	left := b.waiting.leave(b.waiting.Len())
	b.mu.Unlock()
	Tell(left, nil)
	b.signal()
}
