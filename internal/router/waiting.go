package router

import (
	"errors"
	"slices"
	"time"

	"github.com/longline/longline/internal/message"
)

// WaitingConfig bounds the line of messages that wait for room at one receiver. The zero value works.
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

// Waiting is a receiver's line of QoS 1 and 2 messages that wait for room, in order. Its bounds are needed because
// messages keep waiting after their publisher's connection has ended, and a device may connect again and again.
//
// The methods that remove messages remove a bounded number, because the receiver is locked, and return their claims.
// The caller answers them once it has released the lock.
type Waiting struct {
	// Static after construction.
	config     WaitingConfig
	account    *message.Account
	onDeadline func()

	// Guarded by the receiver's lock.
	line    []Held
	bytes   int         // sum of their sizes
	timed   int         // how many of them have a deadline
	timer   *time.Timer // used again each time the line fills
	soonest time.Time   // when the timer fires if timed > 0: up to overduePause after the soonest deadline, or before it
}

// takeAtOnce is how many messages one call removes from a line.
const takeAtOnce = 128

// NewWaiting makes an empty line. The line calls onDeadline on a goroutine of its own when the soonest deadline may
// have passed; onDeadline calls Overdue.
func (r *Router) NewWaiting(onDeadline func()) *Waiting {
	return &Waiting{config: r.config.Waiting, account: r.config.Account, onDeadline: onDeadline}
}

// Len returns the number of messages that wait.
func (w *Waiting) Len() int { return len(w.line) }

// Add appends m with a claim of p. It returns false if the line is full: then the receiver returns ErrTooLate.
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

// hasRoom reports whether the line has room for m. An empty line has room for one message of any size.
func (w *Waiting) hasRoom(m *message.Message) bool {
	return len(w.line) == 0 || len(w.line) < w.config.Messages && w.bytes+m.Size() <= w.config.Bytes
}

// schedule arms the timer for the deadline of a message that was added.
func (w *Waiting) schedule(deadline time.Time) {
	if w.timed > 1 && !deadline.Before(w.soonest) {
		return
	}
	w.soonest = deadline // a message that waited elsewhere before may have the soonest
	w.arm(time.Until(deadline))
}

func (w *Waiting) arm(in time.Duration) {
	if w.timer == nil {
		w.timer = time.AfterFunc(in, w.onDeadline)
	} else {
		w.timer.Reset(in)
	}
}

// ErrGiven is what Admit is told of a message that was given to another, with its claim.
var ErrGiven = errors.New("another has it")

// Admit calls take for the messages in order, until take returns ErrFull or takeAtOnce messages were tried, and
// removes those that it tried. It appends their claims to admitted, except for those for which take returns ErrGiven; the caller
// calls Admit again if it removed any. Another error of take refuses that message alone.
func (w *Waiting) Admit(admitted []*Claim, take func(Held) error) []*Claim {
	n := 0
	for ; n < min(len(w.line), takeAtOnce); n++ {
		x := w.line[n]
		err := take(x)
		if errors.Is(err, ErrFull) {
			break
		}
		if errors.Is(err, ErrGiven) {
			continue
		}
		x.Claim.refuse(err)
		admitted = append(admitted, x.Claim)
	}
	w.removeFirst(n)
	return admitted
}

// overduePause is the shortest time between two calls of Overdue for a line: each call locks the receiver, and each
// message of a long line may have its own deadline.
const overduePause = 10 * time.Millisecond

// Overdue removes messages whose deadline has passed, returns their claims, and arms the timer for the next deadline.
func (w *Waiting) Overdue(now time.Time) (late []*Claim) {
	var soonest time.Time
	kept, seen := 0, 0
	for ; seen < len(w.line) && len(late) < takeAtOnce; seen++ {
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
	w.releaseIfEmpty()
	switch {
	case w.timed == 0:
	case more:
		w.soonest = now
		w.arm(0)
	default:
		in := max(soonest.Sub(now), overduePause)
		w.soonest = now.Add(in)
		w.arm(in)
	}
	return late
}

// First returns the message that waits longest. A receiver that answers its claim itself removes it by Take.
func (w *Waiting) First() (x Held, ok bool) {
	if len(w.line) == 0 {
		return Held{}, false
	}
	return w.line[0], true
}

// Take removes and returns the first n messages, or as many as there are.
func (w *Waiting) Take(n int) []Held {
	n = min(len(w.line), n)
	taken := slices.Clone(w.line[:n])
	w.removeFirst(n)
	return taken
}

// removeFirst removes the first n messages.
func (w *Waiting) removeFirst(n int) {
	for _, x := range w.line[:n] {
		w.discount(x)
	}
	clear(w.line[:n])
	w.line = w.line[n:]
	w.releaseIfEmpty()
}

// discount removes x from the counts of the line.
func (w *Waiting) discount(x Held) {
	w.bytes -= x.Message.Size()
	x.Message.Release(w.account)
	if !x.Claim.Deadline.IsZero() {
		w.timed--
	}
}

// releaseIfEmpty frees the memory of an empty line, and stops a timer that is not needed.
func (w *Waiting) releaseIfEmpty() {
	if len(w.line) == 0 {
		w.line = nil
	}
	if w.timed == 0 && w.timer != nil {
		w.timer.Stop()
	}
}
