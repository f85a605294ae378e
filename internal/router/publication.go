package router

import (
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// Publication is one message that the router is offering to its receivers. It gives claims to receivers that answer
// later. Where every receiver has room in memory, none needs a claim, and nothing is allocated.
//
// It belongs to the goroutine that publishes; a receiver may use it until its Deliver or Offer returns.
type Publication struct {
	store store.Store   // static
	done  func(error)   // Publisher.Done
	note  func() bool   // Publisher.Note; nil once it was called
	wait  time.Duration // how long the message may wait for room; 0 means without a deadline
	claim *Claim        // made when the first receiver asks for it
	saved bool          // a receiver called Saved
	hits  []Hit         // scratch

	counts      counts // what the router counts of its publisher
	redelivered bool   // see Redelivered
}

// Claim gives the calling receiver the right to answer later: the publisher gets no answer before the receiver has
// called Claim.Done. Each call gives one right.
func (p *Publication) Claim() *Claim {
	if p.claim == nil {
		p.claim = newClaim(p.whenAnswered(), p.wait)
	}
	p.claim.pending.Add(1)
	return p.claim
}

// whenAnswered returns what the last answer of a claim calls. If the publisher has something to note, it notes that
// first, and is told once that is safe.
func (p *Publication) whenAnswered() func(error) {
	note, done, s := p.note, p.counts.whenAnswered(p.done), p.store
	if note == nil {
		return done
	}
	return func(err error) {
		switch saved := err == nil && note(); {
		case done == nil:
		case saved:
			s.Commit(done)
		default:
			done(err)
		}
	}
}

// Saved notes that the calling receiver has given the message to a durable store. The publisher gets its answer once
// the message is safe there. All receivers of a publication wait for one fence.
func (p *Publication) Saved() { p.saved = true }

// end ends the publication after all receivers were asked; refused is the error of one that did not take the message.
// It reports whether claims are open: then the last one to be answered calls done; otherwise err is the answer.
//
// If something was saved and the publisher wants an answer, one more claim waits for the store's fence. If there is no
// other claim, the publisher's note is behind that fence as well.
func (p *Publication) end(refused error) (later bool, err error) {
	if p.claim == nil && refused == nil && p.note != nil {
		p.saved = p.note() || p.saved
		p.note = nil
	}
	if p.saved && p.done != nil {
		p.store.Commit(p.Claim().Done)
	}
	c, note, done := p.claim, p.note, p.done
	p.done, p.note, p.claim = nil, nil, nil
	switch {
	case c == nil:
		return false, refused
	case !c.release(refused):
		return true, nil
	}
	if err = c.answer(); err == nil && note != nil && note() && done != nil { // all claims were told meanwhile
		p.store.Commit(p.counts.whenAnswered(done))
		return true, nil
	}
	return false, err
}

// Claim is the right of receivers to answer a publication later. All receivers of one publication share it: each calls
// Done exactly once, and the last call answers the publisher.
type Claim struct {
	// Deadline is when a receiver must refuse a message that still waits for room; zero means never.
	Deadline time.Time

	done    func(error) // may be nil
	pending atomic.Int32
	refused atomic.Pointer[error] // the first refusal
}

// newClaim makes the claim of a publication. It counts one right for the router itself, which end releases once all
// receivers were asked.
func newClaim(done func(error), wait time.Duration) *Claim {
	c := &Claim{done: done}
	if wait > 0 {
		c.Deadline = time.Now().Add(wait)
	}
	c.pending.Store(1)
	return c
}

// Done gives the answer of one receiver: nil if it has the message, or why it does not. The last call calls the
// publisher's done. Safe from any goroutine. The caller holds no lock that done takes, so neither a session's nor a
// receiver's.
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

// refuse notes the first error.
func (c *Claim) refuse(err error) {
	if err != nil {
		first := err // so that the common case does not move err to the heap
		c.refused.CompareAndSwap(nil, &first)
	}
}

// answer returns the publisher's answer, once all rights are given up.
func (c *Claim) answer() error {
	if err := c.refused.Load(); err != nil {
		return *err
	}
	return nil
}

// Tell answers all claims with err. A caller on a loop bounds their number.
func Tell(claims []*Claim, err error) {
	for _, c := range claims {
		c.Done(err)
	}
}

// Held is a message that a receiver keeps for another: it waits for room, or is given back to its share.
type Held struct {
	Message *message.Message
	QoS     message.QoS // with which the receiver has it
	Claim   *Claim      // of its publication; nil if the publisher was answered already
}
