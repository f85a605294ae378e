package router

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/longline/longline/internal/ledger"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// ErrInboxClosed is what Inbox.Take returns after Inbox.Close.
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

// Inbox is the bounded queue of one backend subscriber. If it is full, QoS 0 messages are dropped, and QoS 1 and 2
// messages wait, as many as Config.Waiting allows.
type Inbox struct {
	// Static after construction.
	router  *Router
	config  InboxConfig
	filters []string
	ready   chan struct{} // has a token when Take shall look; there may be nothing to take

	// Owned by the caller of Take.
	search *Search      // of retained messages; nil when it is complete
	found  []store.Kept // what it has found and Take has not returned

	// Guarded by mu.
	mu      sync.Mutex
	queue   []*message.Message
	bytes   int
	waiting *Waiting
	missed  uint64 // messages that were dropped since the last Take
	closed  bool
	account ledger.Receiver // without Waiting
}

// OpenInbox subscribes a backend to filters, which must be valid, at most with QoS q. With retained, the matching
// retained messages come first, each once: Take searches them step by step.
func (r *Router) OpenInbox(config InboxConfig, filters []string, q message.QoS, retained bool) *Inbox {
	b := &Inbox{router: r, config: config.withDefaults(), filters: filters, ready: make(chan struct{}, 1)}
	b.waiting = r.NewWaiting(b.refuse)
	r.accounts.Open("backends", b)
	b.mu.Lock() // delays deliveries until the search begins, so that it finds no message that is delivered, too
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
	return b.Offer(m, q, Terms{Wait: true}, p)
}

// Offer implements Member. A backend is on line until it has ended.
func (b *Inbox) Offer(m *message.Message, q message.QoS, t Terms, p *Publication) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.offer(m, q, p)
	switch {
	case !t.Wait || !errors.Is(err, ErrFull):
		return err
	case b.waiting.Add(m, q, p):
		b.countTaken(p)
		return nil
	}
	b.missed++
	if ShareOf(m) == "" {
		b.account.Taken++
		b.account.Dropped.Add(QueueFull.String(), 1)
	}
	return ErrTooLate
}

// offer takes m if there is room, else it returns ErrFull. b is locked.
func (b *Inbox) offer(m *message.Message, q message.QoS, p *Publication) error {
	switch {
	case b.closed && ShareOf(m) != "":
		return ErrGone
	case b.closed:
		return nil
	case b.waiting.Len() == 0 && b.push(m):
	case q == message.AtMostOnce:
		b.missed++
		b.drop(m, BackendTooSlow, 1)
	default:
		return ErrFull
	}
	b.countTaken(p)
	return nil
}

func (b *Inbox) countTaken(p *Publication) {
	if p.Redelivered() {
		b.account.MovedIn++
	} else {
		b.account.Taken++
	}
}

// drop counts n messages that the backend does not get. m is the message, nil if only the number is known.
func (b *Inbox) drop(m *message.Message, why Drop, n int) {
	b.account.Dropped.Add(why.String(), n)
	b.router.Drop(m, "", why, n)
}

// Ledger implements ledger.Account.
func (b *Inbox) Ledger() (now ledger.Receiver) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now.Add(&b.account)
	now.Waiting = uint64(len(b.queue) + b.waiting.Len())
	return now
}

// Expired counts n messages that Take has returned and whose time was over before they were passed on.
func (b *Inbox) Expired(n int) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.account.Delivered -= uint64(n)
	b.account.Expired += uint64(n)
	b.router.Drop(nil, "", Expired, n)
}

// State implements Member. A backend is Busy if messages for it wait to be taken.
func (b *Inbox) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) > 0 {
		return Busy
	}
	return Free
}

// refuse refuses the messages that waited too long, and answers their publishers.
func (b *Inbox) refuse() {
	b.mu.Lock()
	late := b.waiting.Overdue(time.Now())
	b.missed += uint64(len(late))
	b.drop(nil, QueueFull, len(late))
	b.mu.Unlock()
	Tell(late, ErrTooLate)
}

// push queues m and reports whether there was room. An empty queue has room for one message of any size.
func (b *Inbox) push(m *message.Message) bool {
	if len(b.queue) >= b.config.Messages || (b.bytes+m.Size() > b.config.Bytes && len(b.queue) > 0) {
		return false
	}
	b.add(m)
	return true
}

// admit is push for a message that waited.
func (b *Inbox) admit(x Held) error {
	if !b.push(x.Message) {
		return ErrFull
	}
	return nil
}

func (b *Inbox) add(m *message.Message) {
	b.queue = append(b.queue, m)
	b.bytes += m.Size()
	m.Hold(b.router.config.Account)
	b.signal()
}

// Take waits for messages and returns all that are there, in order. missed is how many messages were dropped since the
// last Take. room is a slice that the inbox may reuse: the last batch.
func (b *Inbox) Take(ctx context.Context, room []*message.Message) (batch []*message.Message, missed uint64, err error) {
	clear(room)
	for (b.search != nil || len(b.found) > 0) && ctx.Err() == nil {
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

const (
	retainedBatch = 256  // retained messages that Take returns at once
	retainedLooks = 1024 // messages that it looks at while the store is locked
)

// takeRetained returns the next messages of the search, which may be none. It may read some.
func (b *Inbox) takeRetained(room []*message.Message) []*message.Message {
	if len(b.found) == 0 {
		b.found, _, _ = b.search.Next(make([]store.Kept, 0, retainedBatch), retainedLooks, time.Now())
		if b.search.Done() {
			b.search = nil
		}
	}
	var page *store.Page
	lost, unreadable := 0, 0
	if len(b.found) > 0 && b.found[0].Stored() {
		page = store.RetainedPage(b.found)
		lost = b.router.readRetained(page)
	}
	batch := room[:0]
	for ; len(b.found) > 0; b.found = b.found[1:] {
		m, ok := page.Whole(b.found[0])
		if !ok {
			break
		}
		switch {
		case m != nil:
			batch = append(batch, m)
		case page.Unreadable(b.found[0]):
			unreadable++
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.account.Taken += uint64(len(batch) + lost + unreadable)
	b.account.Delivered += uint64(len(batch))
	b.account.Lost.Add("store", lost)
	b.router.Drop(nil, "", Lost, lost)
	b.drop(nil, Unreadable, unreadable)
	return batch
}

// take swaps the queue for room and admits waiting messages. If the queue is empty it stays as it is: room is used
// only if a batch is returned.
func (b *Inbox) take(room []*message.Message) (batch []*message.Message, missed uint64, err error) {
	b.mu.Lock()
	switch {
	case b.closed:
		b.signal() // the next Take returns at once, too
		err = ErrInboxClosed
	case len(b.queue) > 0:
		batch, b.queue, b.bytes = b.queue, room, 0
		missed, b.missed = b.missed, 0
		b.account.Delivered += uint64(len(batch))
	}
	b.mu.Unlock()
	if len(batch) == 0 {
		return nil, 0, err
	}
	b.release(batch)
	for b.admitSome() {
	}
	return batch, missed, nil
}

// admitSome admits some waiting messages into the queue, and reports whether there were any. It does not admit all of
// them under one lock, which publishers would wait for.
func (b *Inbox) admitSome() bool {
	var admitted []*Claim
	b.mu.Lock()
	if !b.closed { // Close ends the waiting ones
		admitted = b.waiting.Admit(nil, b.admit)
	}
	b.mu.Unlock()
	Tell(admitted, nil)
	return len(admitted) > 0
}

// release removes messages from the node's account: they are the subscriber's now.
func (b *Inbox) release(all []*message.Message) {
	for _, m := range all {
		m.Release(b.router.config.Account)
	}
}

// signal makes the next Take look.
func (b *Inbox) signal() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// Close ends the subscription. Publishers whose messages wait for room get a success, as if the subscriber had left
// before they published. Messages that came by a share go to its other members, first those in unread: messages that
// the caller took and did not pass on. The others are dropped. Not on a loop.
func (b *Inbox) Close(unread []*message.Message) {
	for _, f := range b.filters {
		b.router.Unsubscribe(f, b)
	}
	held := holdShared(nil, unread)
	b.mu.Lock()
	b.closed = true
	b.account.Delivered -= uint64(len(unread))
	b.release(b.queue)
	held = holdShared(held, b.queue)
	b.giveBack(len(held), len(unread)+len(b.queue))
	b.queue = nil
	b.mu.Unlock()
	b.signal()
	b.router.Redeliver(held, nil)
	for b.endWaiting() {
	}
	b.router.accounts.Close(b)
}

// giveBack counts messages that the inbox has no more, of which the shared ones go to other members.
func (b *Inbox) giveBack(shared, all int) {
	b.account.MovedOut += uint64(shared)
	b.router.GivesBack(shared)
	b.drop(nil, SessionEnded, all-shared)
}

// endWaiting ends some waiting messages, and reports whether there were any.
func (b *Inbox) endWaiting() bool {
	b.mu.Lock()
	left := b.waiting.Take(takeAtOnce)
	shared := 0
	for i := range left {
		if ShareOf(left[i].Message) != "" {
			shared++
		}
	}
	b.giveBack(shared, len(left))
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

// holdShared appends those messages of from that came by a share.
func holdShared(held []Held, from []*message.Message) []Held {
	for _, m := range from {
		if ShareOf(m) != "" {
			held = append(held, Held{Message: m, QoS: m.QoS})
		}
	}
	return held
}
