package router

import (
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// Publication is one message that is offered to its receivers. It lends them claims: a receiver that
// has room in memory needs none, and then nothing is allocated.
//
// It belongs to the goroutine that publishes; a receiver may use it until its Deliver or Offer returns.
type Publication struct {
	done  func(error)   // told when all claims are; nil when nobody wants to know
	wait  time.Duration // how long the message may wait for room; 0 means for ever
	claim *Claim        // made at the first need
	saved bool          // a receiver has called Saved
	hits  []Hit         // scratch
}

// Claim gives the receiver that is asked now the right to answer later: the publisher is not answered
// before Claim.Done was called. It is one right per call.
func (p *Publication) Claim() *Claim {
	if p.claim == nil {
		p.claim = newClaim(p.done, p.wait)
	}
	p.claim.pending.Add(1)
	return p.claim
}

// Saved says that the receiver that is asked now has given the message to a durable store: the publisher is answered once that
// is safe. All receivers of a publication wait for one fence.
func (p *Publication) Saved() { p.saved = true }

// fence has a claim wait for the store, if a receiver has called Saved and somebody is to be told.
func (p *Publication) fence(s store.Store) {
	if p.saved && p.done != nil {
		s.Commit(p.Claim().Done)
	}
}

// end is called when all receivers were asked; refused is the error of one that did not take the
// message. It reports whether claims are left: then the last one told calls done, and else err is the answer.
func (p *Publication) end(refused error) (later bool, err error) {
	c := p.claim
	p.done, p.claim = nil, nil
	switch {
	case c == nil:
		return false, refused
	case !c.release(refused):
		return true, nil
	}
	return false, c.answer()
}

// Claim is the right of receivers to answer a publication later. All claims of one publication share it: each
// calls Done exactly once, and the last one answers the publisher.
type Claim struct {
	// Deadline is when a receiver must refuse a message that still waits for room; the zero time means never.
	Deadline time.Time

	done    func(error) // may be nil
	pending atomic.Int32
	refused atomic.Pointer[error] // the first refusal
}

// newClaim makes the claim of a publication, with one right for the publisher itself, which it gives up
// once all receivers were asked.
func newClaim(done func(error), wait time.Duration) *Claim {
	c := &Claim{done: done}
	if wait > 0 {
		c.Deadline = time.Now().Add(wait)
	}
	c.pending.Store(1)
	return c
}

// Done gives one receiver's answer: nil when it has the message, or why it does not. The last one calls
// the publisher's done. Safe from any goroutine; the caller holds no lock that a publisher takes to be told,
// so no session's and no receiver's.
func (c *Claim) Done(err error) {
	if c.release(err) && c.done != nil {
		c.done(c.answer())
	}
}

// release gives up one right, and reports whether it was the last one.
func (c *Claim) release(err error) (last bool) {
	c.refuse(err)
	return c.pending.Add(-1) == 0
}

// refuse notes why a receiver does not take the message, if err says so.
func (c *Claim) refuse(err error) {
	if err != nil {
		first := err // so that the common case does not move err to the heap
		c.refused.CompareAndSwap(nil, &first)
	}
}

// answer is what the publisher is told once the last right was given up.
func (c *Claim) answer() error {
	if err := c.refused.Load(); err != nil {
		return *err
	}
	return nil
}

// Tell gives each claim its answer. Whoever calls it on a loop bounds the claims.
func Tell(claims []*Claim, err error) {
	for _, c := range claims {
		c.Done(err)
	}
}

// Held is a message that a receiver holds for its publisher, or its share: it waits for room, or is given back.
type Held struct {
	Message *message.Message
	QoS     message.QoS // with which the receiver has it
	Claim   *Claim      // of the publisher that waits for room there; nil for one that was answered already
}
