package router

import (
	"context"
	"errors"
	"sync"

	"github.com/longline/longline/internal/ledger"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// Each receiver has an account of its own (ledger.Receiver), and counts under its own lock, in the same locked section in which
// a message comes or leaves. The rules, for sessions, inboxes and streams alike:
//
//   - A message that Deliver or Offer accepts is Taken, or MovedIn if the publication is Redelivered. So is one that the
//     receiver drops at once.
//   - One that Deliver refuses is Taken and dropped with RefusedFor the error, unless it came by a share: the share may find
//     another member, and has an account for what no member takes.
//   - One that an ended receiver did not get is not counted.
//   - Whoever gives n messages back to their shares counts them MovedOut, and calls Router.GivesBack(n) before it unlocks.

// Redelivered reports whether another member of a share had the message before. p may be nil.
func (p *Publication) Redelivered() bool { return p != nil && p.redelivered }

// Acknowledged reports whether the publisher has its answer already, or wants none: who refuses the message, drops it.
func (p *Publication) Acknowledged() bool { return p == nil || p.redelivered || p.wait == 0 }

// ReasonOf returns why a publication was refused with err.
func ReasonOf(err error) Drop {
	for _, q := range &quotas {
		if q.err != nil && errors.Is(err, q.err) {
			return q.drop
		}
	}
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		return refusal.Why
	case errors.Is(err, ErrTooLate):
		return QueueFull
	case errors.Is(err, ErrStore):
		return StoreFails
	case errors.Is(err, message.ErrNoIDs):
		return NoIDs
	case errors.Is(err, store.ErrFull), errors.Is(err, store.ErrTooLarge):
		return Refused
	}
	return StoreFails // the answer to a fence
}

// Accounts returns the book of receivers that are no devices.
func (r *Router) Accounts() *ledger.Book { return &r.accounts }

// AddLedger adds the parts of a node's ledger that are not of devices.
func (r *Router) AddLedger(_ context.Context, n *ledger.Node) error {
	r.accounts.AddTo(n)
	n.AddReceiver("shares", r.between.ledger())
	r.publishers.addTo(n)
	return nil
}

// between is the account of messages that are between two members of a share, or that no member takes.
type between struct {
	// Guarded by mu, under which nothing else is locked.
	mu      sync.Mutex
	account ledger.Receiver
}

func (b *between) ledger() *ledger.Receiver {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := new(ledger.Receiver)
	now.Add(&b.account)
	return now
}

// GivesBack counts n messages that a receiver gives back to their shares: a call of Redeliver follows for each. The caller may
// have locked the receiver.
func (r *Router) GivesBack(n int) {
	b := &r.between
	b.mu.Lock()
	defer b.mu.Unlock()
	b.account.MovedIn += uint64(n)
	b.account.Waiting += uint64(n)
}

// FindsBetween counts n messages that were between two members when the node ended before: a call of Redeliver follows
// for each.
func (r *Router) FindsBetween(n int) {
	b := &r.between
	b.mu.Lock()
	defer b.mu.Unlock()
	b.account.Found += uint64(n)
	b.account.Waiting += uint64(n)
}

// moved counts a message that another member has taken.
func (b *between) moved() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.account.Waiting--
	b.account.MovedOut++
}

// dropped counts a message that no other member takes.
func (b *between) dropped(why Drop) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.account.Waiting--
	b.account.Dropped.Add(why.String(), 1)
}

// refused counts a new message that no member takes.
func (b *between) refused(why Drop) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.account.Taken++
	b.account.Dropped.Add(why.String(), 1)
}

// publishers are the accounts of publishers that are no devices, by how the messages came.
type publishers struct {
	// Guarded by mu, under which nothing else is locked.
	mu    sync.Mutex
	byVia [message.ViaSource + 1]ledger.Publisher
}

func (p *publishers) addTo(n *ledger.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for via := range p.byVia {
		if via := message.Via(via); via != message.ViaDevice && (via != message.ViaUnknown && via != message.ViaSource || p.byVia[via].Published > 0) {
			n.AddPublisher(via.String(), &p.byVia[via])
		}
	}
}

func (p *publishers) begins(via message.Via) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byVia[via].Published++
	p.byVia[via].Waiting++
}

// WillDue counts a will that is due; a call of Publish follows. The caller may have locked a session.
func (r *Router) WillDue() { r.publishers.begins(message.ViaWill) }

// counts says what is counted of the publisher of a message: nothing if publishers is nil, because it is a device. Sessions
// count for themselves.
type counts struct {
	publishers *publishers
	via        message.Via
	acks       bool // the publisher is told that the message was taken
}

// count counts m. A will was counted when it was due.
func (p *publishers) count(m *message.Message, done func(error)) counts {
	via := min(m.Origin.Via, message.ViaSource)
	switch via {
	case message.ViaDevice:
		return counts{}
	case message.ViaWill:
	default:
		p.begins(via)
	}
	return counts{p, via, done != nil && m.QoS > message.AtMostOnce}
}

// answer counts the answer.
func (c counts) answer(err error) {
	if c.publishers == nil {
		return
	}
	c.publishers.mu.Lock()
	defer c.publishers.mu.Unlock()
	x := &c.publishers.byVia[c.via]
	x.Waiting--
	if err != nil {
		x.Refused.Add(ReasonOf(err).String(), 1)
		return
	}
	x.Taken++
	if c.acks {
		x.Acknowledged++
	}
}

// whenAnswered returns a function that counts the answer and calls done, which may be nil.
func (c counts) whenAnswered(done func(error)) func(error) {
	if c.publishers == nil {
		return done
	}
	return func(err error) {
		c.answer(err)
		if done != nil {
			done(err)
		}
	}
}

// CountRefused counts a message that its publisher did not give to Publish, because of err.
func (r *Router) CountRefused(m *message.Message, err error) {
	r.publishers.count(m, nil).answer(err)
}
