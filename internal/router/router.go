// Package router decides where a message goes: to the sessions and backend subscribers
// whose filters match its topic, and into the retained messages.
//
// The flow: a publisher lends a message to Publish. The router finds the receivers, makes
// the one owned copy if there are any, and delivers it to each. A receiver that cannot say at once
// that it has a QoS 1 message, because its queue is full or its medium is slow, takes a Claim: the publisher
// is answered when all claims are told. A QoS 0 message is dropped there, with a reason.
package router

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// ErrFull is a member's answer to Member.Offer that it has no room for the message now.
var ErrFull = errors.New("a receiver's queue is full")

// ErrQuota refuses a message because the node owes as much as it may, or as much of its publisher. The error says which.
var ErrQuota = errors.New("nothing is taken before some have left")

// quotas are the refusals by what is full.
var quotas = [...]struct {
	drop Drop
	err  error
}{
	message.OfNode:       {Quota, fmt.Errorf("the node holds as many messages as it may: %w", ErrQuota)},
	message.OfDevice:     {QuotaDevice, fmt.Errorf("the node holds as many messages of this device as it may: %w", ErrQuota)},
	message.OfCredential: {QuotaCredential, fmt.Errorf("the node holds as many messages of this credential as it may: %w", ErrQuota)},
}

// ErrTooLate refuses a message that waited for room as long as Config.MaxWait, or for which
// there was no room in the line of those that wait.
var ErrTooLate = errors.New("a receiver's queue stayed full")

// Subscriber receives messages. Its methods are safe from any goroutine and do not block;
// m is owned.
type Subscriber interface {
	// Deliver takes m, or takes a claim of p and says later whether it has m. A QoS 1 or 2 message that
	// finds no room waits with a claim behind those that wait already, until the claim's deadline; when too many
	// wait, the error is ErrTooLate. Any error says that the receiver does not have m, now and for good; the
	// router counts the drop. p is nil when q is 0: what finds no room then is dropped and counted by the
	// subscriber. One that has ended says nil, as if it had left before; but ErrGone, once it has left
	// all shares, when m came by one.
	Deliver(m *message.Message, q message.QoS, p *Publication) error
}

// Hit is a receiver of a message and the highest QoS that it gets.
type Hit = topic.Hit[Subscriber]

// Config is what a Router may be told. The zero value works.
type Config struct {
	MaxWait time.Duration    `yaml:"max_wait" help:"how long a QoS 1 message waits for room at a receiver before its publisher is refused"`
	Account *message.Account `yaml:"-"` // what the node owes; nil has no bound
	Node    uint16           `yaml:"-"` // the node's number, for Message.Origin

	Observer Observer      `yaml:"-"` // nil is none
	Waiting  WaitingConfig `yaml:"waiting" help:"what may wait for room at one receiver, a device or a backend; more is refused at once, as after max_wait"`
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
	pool   sync.Pool // of *Publication

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
	r.shares = shares{index: r.index, byFilter: make(map[string]*share)}
	r.pool.New = func() any { return new(Publication) }
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

// Short reports whether the node owes as much as it may, or as much of a publisher: nothing is taken of it that would
// have to be kept.
func (r *Router) Short(d message.Debtor) bool { return r.config.Account.Full(d) != message.NoPart }

// CheckQuota refuses, and counts, a message of a publisher of which nothing more may be kept. The error wraps ErrQuota.
func (r *Router) CheckQuota(d message.Debtor) error {
	full := r.config.Account.Full(d)
	if full == message.NoPart {
		return nil
	}
	r.Drop(nil, "", quotas[full].drop, 1)
	return quotas[full].err
}

// Result is what became of a publication so far.
type Result struct {
	Receivers int
	Later     bool // done is told; the error is nil until then
}

// Publish delivers m, which may be borrowed, to its receivers. The topic must be valid.
//
// With QoS 1 and 2 a nil error says that every receiver has m, unless Result.Later says that some of them answer
// later: then done, if it is not nil, is told exactly once when all have: from any goroutine, without locks, perhaps
// before Publish returns. Without Later done is never called. Where done is nil, receivers that have no room
// let m wait all the same. For room it waits as long as Config.MaxWait.
//
// A message that cannot be retained is delivered all the same, and counted. If nobody receives it,
// the store's error is returned.
//
// When the node owes as much as it may, or as much of m's Debtor, what would have to be kept is refused with ErrQuota.
func (r *Router) Publish(m *message.Message, done func(error)) (Result, error) {
	return r.publish(m, done, r.config.MaxWait)
}

// PublishPatiently is Publish for a publisher that can be told no refusal: m waits for room
// as long as it takes, or until the receiver's session ends. It is refused all the same when
// a receiver has no room in its line.
func (r *Router) PublishPatiently(m *message.Message, done func(error)) (Result, error) {
	return r.publish(m, done, 0)
}

func (r *Router) publish(m *message.Message, done func(error), wait time.Duration) (Result, error) {
	keeps := m.Retain && len(m.Payload) > 0
	if keeps {
		if err := r.CheckQuota(m.Debtor); err != nil {
			return Result{}, err
		}
	}
	p := r.begin(done, wait)
	defer r.pool.Put(p)
	var unkept error
	if m.Retain {
		if unkept = r.retain(m); unkept != nil {
			r.NotRetained.add(unkept)
		}
		p.saved = unkept == nil && m.QoS > message.AtMostOnce && r.store.Durable()
	}
	hits := r.index.Match(m.Topic, p.hits[:0]) // after Retain: a new subscriber finds m in one place or the other
	var err error
	if len(hits) > 0 && !keeps && m.QoS > message.AtMostOnce {
		err = r.CheckQuota(m.Debtor)
	}
	if len(hits) > 0 && err == nil {
		if m, err = r.Own(m); err == nil {
			m.Kept, m.Retain = m.Retain, false // MQTT 5 §3.3.1.3: it was published now, not found retained
		}
	}
	if err == nil {
		err = r.deliver(m, hits, p)
	}
	if len(hits) == 0 && unkept != nil { // nothing was done with it
		r.Drop(m, m.Source, Refused, 1)
		err = unkept
	}
	result := Result{Receivers: len(hits)}
	clear(hits)
	p.hits = hits[:0]
	result.Later, err = p.end(err)
	return result, err
}

// Own returns an owned copy of m, which this node has taken. Without an ID for it, it returns message.ErrNoIDs and counts
// the drop.
func (r *Router) Own(m *message.Message) (*message.Message, error) {
	own := m.Clone()
	if own.ID == 0 {
		r.Drop(m, m.Source, NoIDs, 1)
		return nil, message.ErrNoIDs
	}
	if own.Origin.Node == 0 {
		own.Origin.Node = r.config.Node
	}
	return own, nil
}

// retain keeps a copy of m.
func (r *Router) retain(m *message.Message) error {
	own, err := r.Own(m)
	if err != nil {
		return err
	}
	return r.store.Retain(own, time.Now())
}

// begin borrows a publication from the pool.
func (r *Router) begin(done func(error), wait time.Duration) *Publication {
	p := r.pool.Get().(*Publication)
	p.done, p.wait, p.saved = done, wait, false
	return p
}

// DeliverTo is Publish to receivers that the caller has found, which are not kept; m is
// owned if there are any. later is Result.Later.
func (r *Router) DeliverTo(to []Hit, m *message.Message, done func(error)) (later bool, err error) {
	p := r.begin(done, r.config.MaxWait)
	defer r.pool.Put(p)
	return p.end(r.deliver(m, to, p))
}

// deliver gives m to each receiver, and returns the error of one that refused it.
func (r *Router) deliver(m *message.Message, to []Hit, p *Publication) (refused error) {
	r.observePublished(m, len(to))
	r.published.Add(1)
	r.offered.Add(uint64(len(to)))
	for _, h := range to {
		q, with := min(h.QoS, m.QoS), p
		if q == message.AtMostOnce {
			with = nil
		}
		if err := h.Subscriber.Deliver(m, q, with); err != nil {
			r.countRefusal(m, err)
			refused = err
		}
	}
	p.fence(r.store)
	return refused
}

// countRefusal counts a message that a receiver did not take.
func (r *Router) countRefusal(m *message.Message, err error) {
	why := Refused
	if errors.Is(err, ErrTooLate) {
		why = QueueFull
	}
	r.Drop(m, "", why, 1)
}
