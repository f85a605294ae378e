package router

import (
	"sync/atomic"
	"time"
)

// Ticket is a QoS 1 publisher's claim to an answer: it is told when every receiver that
// had no room has taken the message, or one has refused it.
type Ticket struct {
	// Deadline is when a receiver must refuse what still waits; zero is never.
	Deadline time.Time

	done    func(error)
	pending atomic.Int32
	failure atomic.Pointer[error]
}

// newTicket makes a ticket on which the publisher itself has a claim: its Done is the last
// once all receivers were asked.
func newTicket(done func(error), deadline time.Time) *Ticket {
	t := &Ticket{Deadline: deadline, done: done}
	t.pending.Store(1)
	return t
}

func (t *Ticket) hold() { t.pending.Add(1) }

// Done gives one receiver's answer. Safe from any goroutine; no lock that done's owner
// takes may be held.
func (t *Ticket) Done(err error) {
	t.fail(err)
	if t.pending.Add(-1) > 0 {
		return
	}
	if f := t.failure.Load(); f != nil {
		t.done(*f)
		return
	}
	t.done(nil)
}

// fail notes a receiver's refusal, if err is one, for when all have answered.
func (t *Ticket) fail(err error) {
	if err != nil {
		first := err // so that the common case does not move err to the heap
		t.failure.CompareAndSwap(nil, &first)
	}
}

// Tell gives each ticket its answer.
func Tell(tickets []*Ticket, err error) {
	for _, t := range tickets {
		t.Done(err)
	}
}
