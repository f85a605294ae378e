package router

import (
	"errors"
	"time"

	"github.com/longline/longline/internal/message"
)

// Waiting is a receiver's line of QoS 1 and 2 messages that wait for room, in order. The
// receiver's lock guards it; the zero value is an empty line. It needs no bound of its own:
// each publisher has a bounded number of unanswered messages.
//
// The methods that take messages out return their tickets, which the caller tells once its
// lock is released.
type Waiting struct {
	line    []waiter
	timed   int         // of those, how many have a deadline
	timer   *time.Timer // one, however often the line fills and empties
	soonest time.Time   // when the timer fires if there are any: at the soonest deadline, or before
}

type waiter struct {
	m *message.Message
	q message.QoS
	t *Ticket
}

// Len is the number of messages that wait.
func (w *Waiting) Len() int { return len(w.line) }

// Add puts m at the end of the line. late is called, on a goroutine of its own, when the
// soonest deadline in the line may have passed; it must call Overdue. It is the same
// function at each call.
func (w *Waiting) Add(m *message.Message, q message.QoS, t *Ticket, late func()) {
	w.line = append(w.line, waiter{m, q, t})
	if t.Deadline.IsZero() {
		return
	}
	w.timed++
	if w.timed > 1 && !t.Deadline.Before(w.soonest) {
		return
	}
	w.soonest = t.Deadline // one that waited elsewhere before may come before others
	if w.timer == nil {
		w.timer = time.AfterFunc(time.Until(t.Deadline), late)
	} else {
		w.timer.Reset(time.Until(t.Deadline))
	}
}

// Admit offers the messages in order to take until that returns ErrFull, and takes out those
// before. Another error refuses the one message.
func (w *Waiting) Admit(take func(*message.Message, message.QoS) error) []*Ticket {
	n := 0
	for ; n < len(w.line); n++ {
		err := take(w.line[n].m, w.line[n].q)
		if errors.Is(err, ErrFull) {
			break
		}
		w.line[n].t.fail(err)
	}
	return w.leave(n)
}

// Overdue takes out those whose deadline has passed and has late called again for the rest.
func (w *Waiting) Overdue(now time.Time) (late []*Ticket) {
	var soonest time.Time
	kept := w.line[:0]
	for _, x := range w.line {
		deadline := x.t.Deadline
		if !deadline.IsZero() && !deadline.After(now) {
			late = append(late, x.t)
			continue
		}
		if soonest.IsZero() || !deadline.IsZero() && deadline.Before(soonest) {
			soonest = deadline
		}
		kept = append(kept, x)
	}
	clear(w.line[len(kept):])
	w.line, w.timed = kept, w.timed-len(late)
	w.rest()
	if w.timed > 0 {
		w.soonest = soonest
		w.timer.Reset(soonest.Sub(now))
	}
	return late
}

// Clear takes all out.
func (w *Waiting) Clear() []*Ticket { return w.leave(len(w.line)) }

// leave takes the first n out of the line.
func (w *Waiting) leave(n int) []*Ticket {
	if n == 0 {
		return nil
	}
	tickets := make([]*Ticket, n)
	for i := range tickets {
		tickets[i] = w.line[i].t
		if !tickets[i].Deadline.IsZero() {
			w.timed--
		}
	}
	clear(w.line[:n])
	w.line = w.line[n:]
	w.rest()
	return tickets
}

// rest lets go of what the line does not need.
func (w *Waiting) rest() {
	if len(w.line) == 0 {
		w.line = nil
	}
	if w.timed == 0 && w.timer != nil {
		w.timer.Stop()
	}
}
