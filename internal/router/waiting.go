package router

import (
	"errors"
	"slices"
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
// The methods that take messages out take a bounded number, because the receiver is locked, and return their
// claims, which the caller tells once its lock is released.
type Waiting struct {
	// Static after construction.
	config  WaitingConfig
	account *message.Account
	late    func()

	// Guarded by the receiver's lock.
	line    []Held
	bytes   int         // the sum of their sizes
	timed   int         // of those, how many have a deadline
	timer   *time.Timer // one, however often the line fills and empties
	soonest time.Time   // when the timer fires if there are any: at the soonest deadline, before, or up to pause after
}

// slice is how many messages are taken out of a line at a time.
const slice = 128

// NewWaiting makes an empty line. late is called, on a goroutine of its own, when the soonest
// deadline in the line may have passed; it calls Overdue.
func (r *Router) NewWaiting(late func()) *Waiting {
	return &Waiting{config: r.config.Waiting, account: r.config.Account, late: late}
}

// Len is the number of messages that wait.
func (w *Waiting) Len() int { return len(w.line) }

// Add puts m at the end of the line, with a claim of p. It reports false when the line is too long: the
// receiver's answer is ErrTooLate.
func (w *Waiting) Add(m *message.Message, q message.QoS, p *Publication) bool {
	if !w.hasRoom(m) {
		return false
	}
	c := p.Claim()
	w.line = append(w.line, Held{m, q, c})
	w.bytes += m.Size()
	m.Hold(w.account)
	if !c.Deadline.IsZero() {
		w.timed++
		w.schedule(c.Deadline)
	}
	return true
}

// hasRoom reports whether m may wait. One message has room in an empty line, whatever its size.
func (w *Waiting) hasRoom(m *message.Message) bool {
	return len(w.line) == 0 || len(w.line) < w.config.Messages && w.bytes+m.Size() <= w.config.Bytes
}

// schedule sets the timer for the deadline of a message that has joined.
func (w *Waiting) schedule(deadline time.Time) {
	if w.timed > 1 && !deadline.Before(w.soonest) {
		return
	}
	w.soonest = deadline // one that waited elsewhere before may come before others
	w.fire(time.Until(deadline))
}

func (w *Waiting) fire(in time.Duration) {
	if w.timer == nil {
		w.timer = time.AfterFunc(in, w.late)
	} else {
		w.timer.Reset(in)
	}
}

// Admit gives the messages in order to take until that returns ErrFull, or many were taken, and takes them out.
// It appends their claims to admitted; the caller admits again if it got any. Another error refuses the one message.
func (w *Waiting) Admit(admitted []*Claim, take func(*message.Message, message.QoS) error) []*Claim {
	n := 0
	for ; n < min(len(w.line), slice); n++ {
		x := w.line[n]
		err := take(x.Message, x.QoS)
		if errors.Is(err, ErrFull) {
			break
		}
		x.Claim.refuse(err)
		admitted = append(admitted, x.Claim)
	}
	w.leave(n)
	return admitted
}

// pause is how long the line is left alone after a look for those that are overdue: the
// receiver is locked for it, and each of a long line's messages may have its own deadline.
const pause = 10 * time.Millisecond

// Overdue takes out those whose deadline has passed, and sets the timer for the rest.
func (w *Waiting) Overdue(now time.Time) (late []*Claim) {
	var soonest time.Time
	kept, seen := 0, 0
	for ; seen < len(w.line) && len(late) < slice; seen++ {
		x := w.line[seen]
		deadline := x.Claim.Deadline
		if !deadline.IsZero() && !deadline.After(now) {
			late = append(late, x.Claim)
			w.discount(x)
			continue
		}
		if soonest.IsZero() || !deadline.IsZero() && deadline.Before(soonest) {
			soonest = deadline
		}
		w.line[kept] = x
		kept++
	}
	more := seen < len(w.line)
	w.line = slices.Delete(w.line, kept, seen)
	w.rest()
	switch {
	case w.timed == 0:
	case more:
		w.soonest = now
		w.fire(0)
	default:
		in := max(soonest.Sub(now), pause)
		w.soonest = now.Add(in)
		w.fire(in)
	}
	return late
}

// Take takes out the first n messages, or as many as there are.
func (w *Waiting) Take(n int) []Held {
	n = min(len(w.line), n)
	taken := slices.Clone(w.line[:n])
	w.leave(n)
	return taken
}

// leave takes the first n out of the line.
func (w *Waiting) leave(n int) {
	for _, x := range w.line[:n] {
		w.discount(x)
	}
	clear(w.line[:n])
	w.line = w.line[n:]
	w.rest()
}

// TakeShared takes out all messages that came by a share for which give reports true.
func (w *Waiting) TakeShared(give func(share string) bool) (held []Held) {
	w.line = slices.DeleteFunc(w.line, func(x Held) bool {
		if share := ShareOf(x.Message); share == "" || !give(share) {
			return false
		}
		held = append(held, x)
		w.discount(x)
		return true
	})
	w.rest()
	return held
}

// discount counts x as one that leaves.
func (w *Waiting) discount(x Held) {
	w.bytes -= x.Message.Size()
	x.Message.Release(w.account)
	if !x.Claim.Deadline.IsZero() {
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
