// Package router decides where a message goes: to the sessions and backend subscribers whose filters match its topic,
// and into the retained messages.
//
// The flow: a publisher lends a message to Publish. The router finds the receivers, makes one owned copy if there are
// any, which all of them share, and delivers it to each. A receiver that cannot say at once that it has a QoS 1
// message, because its queue is full or its medium is slow, takes a Claim. The publisher gets its answer when all
// claims are answered. A QoS 0 message that finds no room is dropped, with a reason.
package router

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/ledger"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// ErrFull is what Member.Offer returns if the member has no room for the message now.
var ErrFull = errors.New("a receiver's queue is full")

// ErrQuota refuses a message because the kept messages of the node, or of its publisher, are at their limit. The
// wrapping error says which.
var ErrQuota = errors.New("the limit of kept messages is reached")

// ErrStore refuses a message that would have to be kept while the store cannot make anything safe. The wrapped error says
// why: what cannot be made safe stays in memory, so no more of it is taken.
var ErrStore = errors.New("the store fails")

// Refusal is an error of Subscriber.Deliver that names the reason of the drop.
type Refusal struct {
	Why  Drop
	Text string
	Like error // what it is for errors.Is, and so for the publisher
}

func (e *Refusal) Error() string { return e.Text }

func (e *Refusal) Unwrap() error { return e.Like }

// quotas are the drop reason and the refusal for each account that may be full.
var quotas = [...]struct {
	drop Drop
	err  error
}{
	message.OfNode:       {Quota, fmt.Errorf("the node keeps as many messages as it may: %w", ErrQuota)},
	message.OfDevice:     {QuotaDevice, fmt.Errorf("the node keeps as many messages of this device as it may: %w", ErrQuota)},
	message.OfCredential: {QuotaCredential, fmt.Errorf("the node keeps as many messages of this credential as it may: %w", ErrQuota)},
}

// ErrTooLate refuses a message that waited for room for Config.MaxWait, or that found no room in the receiver's line
// either.
var ErrTooLate = errors.New("a receiver's queue stayed full")

// Subscriber receives messages. Its methods are safe from any goroutine and do not block; m is owned.
type Subscriber interface {
	// Deliver takes m, or takes a claim of p and answers it later. A QoS 1 or 2 message that finds no room waits with
	// a claim, behind those that wait already, until the claim's deadline; if too many wait, the error is ErrTooLate.
	// Any error means that the receiver does not have m and will not; the router counts the drop, for the reason that a
	// *Refusal names. p is nil if q is 0: the subscriber drops and counts a QoS 0 message that finds no room. A
	// subscriber that has ended returns nil, as if it had ended before the publication; if m came by a share, which it
	// has left, it returns ErrGone.
	Deliver(m *message.Message, q message.QoS, p *Publication) error
}

// Hit is a receiver of a message and the highest QoS at which it gets the message.
type Hit = topic.Hit[Subscriber]

// Config has the options of a Router. The zero value works.
type Config struct {
	MaxWait time.Duration    `yaml:"max_wait" help:"how long a QoS 1 or 2 message waits for room at a receiver before its publisher is refused"`
	Account *message.Account `yaml:"-"` // counts the kept messages of the node; nil has no bound
	Node    uint16           `yaml:"-"` // the node's number, for Message.Origin

	// Read is store.Opener.Read of the store. It may block: Inbox.Take calls it. It may be nil if all retained messages are in memory.
	Read func(*store.Page) error `yaml:"-"`

	Far      Far           `yaml:"-"` // the other nodes of the cluster; nil without one
	Observer Observer      `yaml:"-"` // may be nil
	Waiting  WaitingConfig `yaml:"waiting" help:"messages that may wait for room at one receiver, a device or a backend; more are refused at once, as after max_wait"`
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
	index  *topic.Index[Subscriber] // receivers on this node; without a cluster also the shares
	far    *topic.Index[Subscriber] // other nodes, shares, which have members on all nodes, and OwnNode; nil without a cluster
	shares shares
	pool   sync.Pool // of *Publication

	accounts   ledger.Book
	between    between
	publishers publishers

	// Drops counts the messages that were not delivered, by reason.
	Drops Drops
	// NotRetained counts the messages that asked to be retained and were not.
	NotRetained NotRetained

	published atomic.Uint64
	offered   atomic.Uint64
}

// New makes a router that keeps its retained messages in s.
func New(config Config, s store.Store) *Router {
	r := &Router{config: config.WithDefaults(), store: s, index: topic.NewIndex[Subscriber]()}
	r.shares = shares{index: r.index, between: &r.between, byFilter: make(map[string]*share), far: r.config.Far}
	if r.config.Far != nil {
		r.far = topic.NewIndex[Subscriber]()
		r.shares.index = r.far
	}
	r.pool.New = func() any { return &Publication{store: s} }
	return r
}

// Subscribe gives s the messages whose topic matches filter, at most with QoS q. If the filter is shared, s gets those
// that no other member gets. The filter must be valid; the router keeps it.
func (r *Router) Subscribe(filter string, s Subscriber, q message.QoS) {
	if topic.IsShared(filter) {
		r.shares.join(filter, s, q)
		return
	}
	if _, own := s.(OwnNode); own && r.far != nil {
		r.far.Subscribe(filter, s, q)
		return
	}
	if isNew, n := r.index.Subscribe(filter, s, q); isNew {
		r.changed(filter, s, n)
	}
}

// Unsubscribe undoes Subscribe, and reports whether there was such a subscription.
func (r *Router) Unsubscribe(filter string, s Subscriber) bool {
	if topic.IsShared(filter) {
		return r.shares.leave(filter, s)
	}
	if _, own := s.(OwnNode); own && r.far != nil {
		was, _ := r.far.Unsubscribe(filter, s)
		return was
	}
	was, n := r.index.Unsubscribe(filter, s)
	if was {
		r.changed(filter, s, n+1)
	}
	return was
}

// Wanted reports whether a message on topic would have a receiver now.
func (r *Router) Wanted(topic string) bool {
	return r.index.Wanted(topic) || r.far != nil && r.far.Wanted(topic)
}

// Stats has the counters of a router.
type Stats struct {
	Published, Delivered   uint64 // messages; their receivers, including those where they were dropped
	Filters, Subscriptions int
}

// Stats returns the router's counters.
func (r *Router) Stats() Stats {
	s := r.index.Stats()
	return Stats{r.published.Load(), r.offered.Load(), s.Filters, s.Subscriptions}
}

// MaxWait returns how long a publication waits for room at its receivers.
func (r *Router) MaxWait() time.Duration { return r.config.MaxWait }

// Account returns the account of the node's kept messages; nil if they are not counted.
func (r *Router) Account() *message.Account { return r.config.Account }

// Short reports whether the kept messages of the node or of the publisher are at their limit. The router then refuses
// messages of the publisher that would have to be kept.
func (r *Router) Short(d message.Debtor) bool { return r.config.Account.Full(d) != message.NoPart }

// CheckQuota returns an error that wraps ErrQuota if Short is true, and counts the refusal.
func (r *Router) CheckQuota(d message.Debtor) error {
	full := r.config.Account.Full(d)
	if full == message.NoPart {
		return nil
	}
	r.Drop(nil, "", quotas[full].drop, 1)
	return quotas[full].err
}

// checkKept returns why a message of the publisher that would have to be kept is refused, and counts the refusal.
func (r *Router) checkKept(d message.Debtor) error {
	if err := r.store.Err(); err != nil {
		r.Drop(nil, "", StoreFails, 1)
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	return r.CheckQuota(d)
}

// Publisher says what the publisher of a message wants. The zero value wants nothing.
type Publisher struct {
	// Done gets the answer if Result.Later is true, see Publish.
	Done func(error)

	// Note is called once all receivers have the message: before Publish returns or before Done, from any goroutine,
	// without locks other than the publisher's own. It gives to the store what is to be kept together with the message, and reports
	// whether it did: then the publisher gets its answer once that is safe, too. If a receiver refuses the message, it is not called.
	Note func() (saved bool)

	// NoDeadline is for a publisher that cannot be told a refusal: the message waits for room without a deadline, until
	// the receiver's session ends. It is refused nevertheless if the receiver's line is full.
	NoDeadline bool
}

// Result says what became of a publication so far.
type Result struct {
	Receivers int
	Later     bool // done will be called with the answer
}

// Publish delivers m, which may be borrowed, to its receivers. The topic must be valid.
//
// With QoS 1 and 2, a nil error means that every receiver has m, unless Result.Later is true: then some receivers
// answer later, and Publish calls done exactly once when all have answered, from any goroutine, without locks, perhaps
// before Publish returns. If Later is false, done is never called. done may be nil; m waits at receivers without room
// all the same, for at most Config.MaxWait.
//
// A message that cannot be retained is delivered nevertheless, and counted in NotRetained. If it has no receiver,
// Publish returns the store's error.
//
// If the kept messages of the node or of m's Debtor are at their limit, Publish refuses with ErrQuota a message that
// would have to be kept; while the store fails, with ErrStore.
func (r *Router) Publish(m *message.Message, done func(error)) (Result, error) {
	return r.PublishFor(m, Publisher{Done: done})
}

// PublishThen is Publish for a caller that does not ask whether the answer comes later: it calls done exactly once, from any goroutine, without
// locks, perhaps before it returns.
func (r *Router) PublishThen(m *message.Message, done func(error)) {
	if result, err := r.Publish(m, done); !result.Later {
		done(err)
	}
}

// PublishFor is Publish for a publisher that asks for more than an answer.
func (r *Router) PublishFor(m *message.Message, by Publisher) (Result, error) {
	p := r.begin(m, by)
	defer r.pool.Put(p)
	result, err := r.route(m, p)
	if !result.Later {
		p.counts.answer(err)
	}
	return result, err
}

// route finds the receivers of m, delivers it, and ends p.
func (r *Router) route(m *message.Message, p *Publication) (result Result, err error) {
	keeps := m.Retain && len(m.Payload) > 0
	if keeps {
		if err = r.checkKept(m.Debtor); err != nil {
			_, err = p.end(err)
			return result, err
		}
	}
	var unkept error
	if m.Retain {
		if unkept = r.retain(m); unkept != nil {
			r.NotRetained.add(unkept)
		}
		p.saved = unkept == nil && m.QoS > message.AtMostOnce && r.store.Durable()
	}
	hits, at := r.find(m.Topic, p.hits[:0]) // after retain, so that a new subscriber gets m from the index or from the store
	if len(hits) > 0 && !keeps && m.QoS > message.AtMostOnce {
		err = r.checkKept(m.Debtor)
	}
	if len(hits) > 0 && err == nil {
		if m, err = r.Own(m); err == nil {
			m.Kept, m.Retain, m.At = m.Retain, false, at // MQTT 5 §3.3.1.3: receivers get a new message, not a retained one
		}
	}
	if err == nil {
		err = r.deliver(m, hits, p)
	}
	if len(hits) == 0 && unkept != nil { // neither delivered nor retained
		r.Drop(m, m.Source, Refused, 1)
		err = unkept
	}
	result.Receivers = len(hits)
	clear(hits)
	p.hits = hits[:0]
	result.Later, err = p.end(err)
	return result, err
}

// Own returns an owned copy of m with an ID and the node as its origin. If the node has no ID for it, Own counts the
// drop and returns message.ErrNoIDs.
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

// retain stores a copy of m, which is another one than the receivers share.
func (r *Router) retain(m *message.Message) error {
	own, err := r.Own(m)
	if err != nil {
		return err
	}
	return r.store.Retain(own, time.Now())
}

// begin borrows a publication from the pool, and counts it.
func (r *Router) begin(m *message.Message, by Publisher) *Publication {
	p := r.pool.Get().(*Publication)
	p.done, p.note, p.wait, p.saved, p.counts = by.Done, by.Note, r.config.MaxWait, false, r.publishers.count(m, by.Done)
	if by.NoDeadline {
		p.wait = 0
	}
	return p
}

// DeliverTo is Publish to receivers that the caller has found; the router does not keep the list. m is owned unless
// the list is empty. later is Result.Later.
func (r *Router) DeliverTo(to []Hit, m *message.Message, done func(error)) (later bool, err error) {
	p := r.begin(m, Publisher{Done: done})
	defer r.pool.Put(p)
	later, err = p.end(r.deliver(m, to, p))
	if !later {
		p.counts.answer(err)
	}
	return later, err
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
	return refused
}

// countRefusal counts a message that a receiver refused.
func (r *Router) countRefusal(m *message.Message, err error) {
	r.Drop(m, "", RefusedFor(err), 1)
}

// RefusedFor returns why a receiver refused a message with err.
func RefusedFor(err error) Drop {
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		return refusal.Why
	case errors.Is(err, ErrTooLate):
		return QueueFull
	}
	return Refused
}
