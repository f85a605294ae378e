package router

import (
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/message"
)

// Ticket is a QoS 1 publisher's claim to an answer: it is told when every receiver that
// had no room has taken the message, or one has refused it.
type Ticket struct {
	// Deadline is when a receiver must refuse what still waits.
	Deadline time.Time

	done    func(error)
	pending atomic.Int32
	failure atomic.Pointer[error]
}

func newTicket(done func(error), deadline time.Time) *Ticket {
	t := &Ticket{Deadline: deadline, done: done}
	t.pending.Store(1)
	return t
}

func (t *Ticket) hold() { t.pending.Add(1) }

// Done gives one receiver's answer. Safe from any goroutine.
func (t *Ticket) Done(err error) {
	if err != nil {
		t.failure.CompareAndSwap(nil, &err)
	}
	if t.pending.Add(-1) > 0 {
		return
	}
	if f := t.failure.Load(); f != nil {
		t.done(*f)
		return
	}
	t.done(nil)
}

// Waiting is a receiver's line of messages that wait for room, in order. The receiver's
// lock guards it. It needs no bound of its own: each publisher has a bounded number of
// unanswered messages.
type Waiting struct{ line []waiter }

type waiter struct {
	m *message.Message
	q message.QoS
	t *Ticket
}

// Len is the number of messages that wait.
func (w *Waiting) Len() int { return len(w.line) }

// Add puts m at the end of the line.
func (w *Waiting) Add(m *message.Message, q message.QoS, t *Ticket) {
	w.line = append(w.line, waiter{m, q, t})
}

// Admit offers the messages in order to take until that returns false, and returns the
// tickets of those taken. The caller tells them once its lock is released.
func (w *Waiting) Admit(take func(*message.Message, message.QoS) bool) []*Ticket {
	n := 0
	for n < len(w.line) && take(w.line[n].m, w.line[n].q) {
		n++
	}
	return w.leave(n)
}

// Overdue takes those out whose deadline has passed and returns their tickets.
func (w *Waiting) Overdue(now time.Time) []*Ticket {
	n := 0
	for n < len(w.line) && !w.line[n].t.Deadline.After(now) {
		n++
	}
	return w.leave(n)
}

// leave takes the first n out of the line.
func (w *Waiting) leave(n int) []*Ticket {
	if n == 0 {
		return nil
	}
	tickets := make([]*Ticket, n)
	for i := range tickets {
		tickets[i] = w.line[i].t
	}
	rest := copy(w.line, w.line[n:])
	clear(w.line[rest:])
	w.line = w.line[:rest]
	if rest == 0 {
		w.line = nil
	}
	return tickets
}

// Tell gives each ticket its answer.
func Tell(tickets []*Ticket, err error) {
	for _, t := range tickets {
		t.Done(err)
	}
}

// Deadline is that of the first in the line; ok is false when nobody waits.
func (w *Waiting) Deadline() (at time.Time, ok bool) {
	if len(w.line) == 0 {
		return time.Time{}, false
	}
	return w.line[0].t.Deadline, true
}
