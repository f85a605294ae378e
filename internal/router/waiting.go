package router

import (
	"errors"
	"time"

	"github.com/longline/longline/internal/message"
)

// WaitingConfig bounds a line of messages that wait for room. The zero value works.
type WaitingConfig struct {
	Messages int `yaml:"messages" help:"messages"`
	Bytes    int `yaml:"bytes" unit:"bytes" help:"sum of topics, payloads and properties"`
}

func (c WaitingConfig) withDefaults() WaitingConfig {
	if c.Messages <= 0 {
		c.Messages = 1 << 16
	}
	if c.Bytes <= 0 {
		c.Bytes = 64 << 20
	}
	return c
}

// Waiting is a receiver's line of QoS 1 and 2 messages that wait for room, in order. It has a
// bound of its own: a connection has a bounded number of unanswered messages, but what it
// published waits on when it ends, and a device may connect again and again.
//
// The methods that take messages out return their tickets, which the caller tells once its
// lock is released.
type Waiting struct {
	// Static after construction.
	config  WaitingConfig
	account *message.Account
	late    func()

	// Guarded by the receiver's lock.
	line    []waiter
	bytes   int         // the sum of their sizes
	timed   int         // of those, how many have a deadline
	timer   *time.Timer // one, however often the line fills and empties
	soonest time.Time   // when the timer fires if there are any: at the soonest deadline, before, or up to pause after
}

type waiter struct {
	m *message.Message
	q message.QoS
	t *Ticket
}

// NewWaiting makes an empty line. late is called, on a goroutine of its own, when the soonest
// deadline in the line may have passed; it must call Overdue.
func (r *Router) NewWaiting(late func()) *Waiting {
	return &Waiting{config: r.config.Waiting, account: r.config.Account, late: late}
}

// Len is the number of messages that wait.
func (w *Waiting) Len() int { return len(w.line) }

// Add puts m at the end of the line. It is false when the line is too long: the caller refuses
// m with ErrTooLate and counts the drop, as for one that is overdue.
func (w *Waiting) Add(m *message.Message, q message.QoS, t *Ticket) bool {
	if !w.hasRoom(m) {
		return false
	}
	w.line = append(w.line, waiter{m, q, t})
	w.bytes += m.Size()
	m.Hold(w.account)
	if !t.Deadline.IsZero() {
		w.timed++
		w.schedule(t)
	}
	return true
}

// hasRoom tells whether m may wait. One message has room in an empty line, whatever its size.
func (w *Waiting) hasRoom(m *message.Message) bool {
	return len(w.line) == 0 || len(w.line) < w.config.Messages && w.bytes+m.Size() <= w.config.Bytes
}

// schedule has late called for t, which has joined.
func (w *Waiting) schedule(t *Ticket) {
	if w.timed > 1 && !t.Deadline.Before(w.soonest) {
		return
	}
	w.soonest = t.Deadline // one that waited elsewhere before may come before others
	if w.timer == nil {
		w.timer = time.AfterFunc(time.Until(t.Deadline), w.late)
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

// pause is how long the line is left alone after a look for those that are overdue: the
// receiver is locked for it, and each of a long line's messages may have its own deadline.
const pause = 10 * time.Millisecond

// Overdue takes out those whose deadline has passed and has late called again for the rest.
func (w *Waiting) Overdue(now time.Time) (late []*Ticket) {
	var soonest time.Time
	kept := w.line[:0]
	for _, x := range w.line {
		deadline := x.t.Deadline
		if !deadline.IsZero() && !deadline.After(now) {
			late = append(late, x.t)
			w.discount(x)
			continue
		}
		if soonest.IsZero() || !deadline.IsZero() && deadline.Before(soonest) {
			soonest = deadline
		}
		kept = append(kept, x)
	}
	clear(w.line[len(kept):])
	w.line = kept
	w.rest()
	if w.timed > 0 {
		in := max(soonest.Sub(now), pause)
		w.soonest = now.Add(in)
		w.timer.Reset(in)
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
		w.discount(w.line[i])
	}
	clear(w.line[:n])
	w.line = w.line[n:]
	w.rest()
	return tickets
}

// discount counts x as one that leaves.
func (w *Waiting) discount(x waiter) {
	w.bytes -= x.m.Size()
	x.m.Release(w.account)
	if !x.t.Deadline.IsZero() {
		w.timed--
	}
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
