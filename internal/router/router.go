// Package router decides where a message goes: to the sessions and backend subscribers
// whose filters match its topic, and into the retained messages.
//
// The flow: a publisher lends a message to Publish. The router finds the receivers, makes
// the one owned copy if there are any, and offers it to each. A receiver whose queue is
// full makes a QoS 1 publisher wait (its answer comes later, by a Ticket); a QoS 0 message
// is dropped there, with a reason.
package router

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// ErrFull is a receiver's answer that it has no room for the message now.
var ErrFull = errors.New("a receiver's queue is full")

// ErrQuota refuses a message because the node owes as much as it may.
var ErrQuota = errors.New("the node holds as many messages as it may: nothing is taken before some have left")

// ErrTooLate refuses a message that waited for room as long as Config.MaxWait, or for which
// there was no room in the line of those that wait.
var ErrTooLate = errors.New("a receiver's queue stayed full")

// Subscriber receives messages. Its methods are safe from any goroutine and do not block;
// m is owned.
type Subscriber interface {
	// Deliver takes m, or returns ErrFull when q is 1 and there is no room now, or another
	// error when m can never be taken. A QoS 0 message that finds no room is dropped and
	// counted by the subscriber. One that has ended says nil, as if it had left before; but
	// ErrGone, once it has left all shares, when m came by one.
	Deliver(m *message.Message, q message.QoS) error
	// Wait takes m as soon as there is room, behind those that wait already, and tells t; it
	// refuses m with ErrTooLate at the ticket's deadline, or at once when too many wait, and
	// counts the drop.
	Wait(m *message.Message, q message.QoS, t *Ticket)
}

// Hit is a receiver of a message and the highest QoS that it gets.
type Hit = topic.Hit[Subscriber]

// Config is what a Router may be told. The zero value works.
type Config struct {
	MaxWait time.Duration    `yaml:"max_wait" help:"how long a QoS 1 message waits for room at a receiver before its publisher is refused"`
	Account *message.Account `yaml:"-"` // what the node owes; nil has no bound
	Waiting WaitingConfig    `yaml:"waiting" help:"what may wait for room at one receiver, a device or a backend; more is refused at once, as after max_wait"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	if c.MaxWait <= 0 {
		c.MaxWait = 10 * time.Second
	}
	c.Waiting = c.Waiting.withDefaults()
	return c
}

// Router finds the receivers of messages. Its methods are safe from any goroutine.
type Router struct {
	// Static after construction.
	config Config
	store  store.Store
	index  *topic.Index[Subscriber]
	shares shares
	hits   sync.Pool // of *[]Hit

	// Drops counts the messages that were not delivered, by reason. Whoever drops counts.
	Drops Drops
	// NotRetained counts the messages that were to be retained and are not.
	NotRetained NotRetained

	published atomic.Uint64
	offered   atomic.Uint64
}

// New makes a router whose retained messages are in s.
func New(config Config, s store.Store) *Router {
	r := &Router{config: config.WithDefaults(), store: s, index: topic.NewIndex[Subscriber]()}
	r.shares = shares{index: r.index, drops: &r.Drops, byFilter: make(map[string]*share)}
	r.hits.New = func() any { return new([]Hit) }
	return r
}

// Subscribe gives s the messages whose topic matches filter, with QoS q at the most; of a
// shared filter, those that no other member gets. The filter must be valid; it is kept.
func (r *Router) Subscribe(filter string, s Subscriber, q message.QoS) {
	if topic.IsShared(filter) {
		r.shares.join(filter, s, q)
		return
	}
	r.index.Subscribe(filter, s, q)
}

// Unsubscribe ends Subscribe.
func (r *Router) Unsubscribe(filter string, s Subscriber) bool {
	if topic.IsShared(filter) {
		return r.shares.leave(filter, s)
	}
	return r.index.Unsubscribe(filter, s)
}

// Wanted tells whether a message on topic would have a receiver now.
func (r *Router) Wanted(topic string) bool { return r.index.Wanted(topic) }

// Stats counts what the router did.
type Stats struct {
	Published, Delivered   uint64 // messages; receivers that they were offered to, drops included
	Filters, Subscriptions int
}

// Stats returns the router's counters.
func (r *Router) Stats() Stats {
	s := r.index.Stats()
	return Stats{r.published.Load(), r.offered.Load(), s.Filters, s.Subscriptions}
}

// Account is what the node owes; nil is not counted.
func (r *Router) Account() *message.Account { return r.config.Account }

// Short reports whether the node owes as much as it may: nothing is taken that would have to be kept.
func (r *Router) Short() bool { return r.config.Account.Full() }

// Publish offers m, which may be borrowed, to its receivers and returns how many there
// are. The topic must be valid.
//
// A message that cannot be retained is delivered all the same, and counted. If nobody receives it,
// the store's error is returned.
//
// When the node owes as much as it may, what would have to be kept is refused with ErrQuota.
//
// With QoS 1, a nil error says that every receiver has m; on ErrFull some receiver has no
// room, and if done is not nil it is told once m was taken by all, or refused: from any
// goroutine, within Config.MaxWait, perhaps before Publish returns. Another error is final:
// done is not called.
func (r *Router) Publish(m *message.Message, done func(error)) (int, error) {
	return r.publish(m, done, r.config.MaxWait)
}

// PublishPatiently is Publish for a publisher that can be told no refusal: m waits for room
// as long as it takes, or until the receiver's session ends. It is refused all the same when
// a receiver has no room in its line.
func (r *Router) PublishPatiently(m *message.Message, done func(error)) (int, error) {
	return r.publish(m, done, 0)
}

func (r *Router) publish(m *message.Message, done func(error), wait time.Duration) (int, error) {
	if (m.QoS > message.AtMostOnce || m.Retain && len(m.Payload) > 0) && r.Short() {
		r.Drops.Add(Quota, 1)
		return 0, ErrQuota
	}
	var unkept error
	if m.Retain {
		if unkept = r.store.Retain(m.Clone(), time.Now()); unkept != nil {
			r.NotRetained.add(unkept)
		}
	}
	scratch := r.hits.Get().(*[]Hit)
	hits := r.index.Match(m.Topic, (*scratch)[:0])
	if len(hits) > 0 {
		m = m.Clone()
		m.Kept, m.Retain = m.Retain, false // MQTT 5 §3.3.1.3: it was published now, not found retained
	}
	n, err := len(hits), r.offer(m, hits, done, wait)
	if n == 0 && unkept != nil { // nothing was done with it
		r.Drops.Add(Refused, 1)
		err = unkept
	}
	clear(hits)
	*scratch = hits[:0]
	r.hits.Put(scratch)
	return n, err
}

// Offer is Publish to receivers that the caller has found, which it does not keep; m is
// owned if there are any.
func (r *Router) Offer(m *message.Message, to []Hit, done func(error)) error {
	return r.offer(m, to, done, r.config.MaxWait)
}

// offer is Offer; wait is how long m may wait for room, 0 for ever.
func (r *Router) offer(m *message.Message, to []Hit, done func(error), wait time.Duration) error {
	r.published.Add(1)
	r.offered.Add(uint64(len(to)))
	var t *Ticket
	var failure error
	for _, h := range to {
		q := min(h.QoS, m.QoS)
		err := h.Subscriber.Deliver(m, q)
		switch {
		case err == nil:
		case !errors.Is(err, ErrFull):
			failure = err
			r.Drops.Add(Refused, 1)
		case done == nil:
			failure = err
			r.Drops.Add(QueueFull, 1)
		default:
			if t == nil {
				t = newTicket(done, deadline(wait))
			}
			t.hold()
			h.Subscriber.Wait(m, q, t)
		}
	}
	if t == nil {
		return failure
	}
	t.Done(failure)
	return ErrFull
}

// deadline is when a message that may wait so long is refused.
func deadline(wait time.Duration) time.Time {
	if wait == 0 {
		return time.Time{}
	}
	return time.Now().Add(wait)
}
