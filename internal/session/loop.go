package session

import (
	"sync"

	"github.com/longline/longline/internal/message"
)

// Loop is what the sessions know of an event loop, and what they gather for it: the answers to publications that
// waited. Those that come together cost one post, however many connections of the loop they are for. The
// gateway makes one per loop.
type Loop struct {
	// Static after construction.
	index int
	post  func(func()) bool
	give  func() // giveSome, as a value that is made once

	// Owned by the loop.
	giving []settlement
	given  int // of giving

	// Guarded by mu, which is taken after a session's lock, never before.
	mu      sync.Mutex
	settled []settlement
	posted  bool // giveSome will run
	ended   bool
}

// settlement is the answer to a publication that waited.
type settlement struct {
	link *Link
	id   uint64
	qos  message.QoS
	err  error
}

// NewLoop makes the Loop with the given number, from 0. post runs a function on the loop soon, never at once, and reports
// false when the loop has ended; it is called from any goroutine and must not block.
func NewLoop(index int, post func(func()) bool) *Loop {
	l := &Loop{index: index, post: post}
	l.give = l.giveSome
	return l
}

// settle has the loop answer a publication soon. Safe from any goroutine.
func (l *Loop) settle(x settlement) {
	l.mu.Lock()
	post := !l.posted && !l.ended
	if !l.ended {
		l.settled, l.posted = append(l.settled, x), true
	}
	l.mu.Unlock()
	if post {
		l.goOn()
	}
}

// goOn has giveSome run.
func (l *Loop) goOn() {
	if l.post(l.give) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended, l.settled = true, nil
}

const (
	settleAtOnce = 128  // answers per turn
	keptSettled  = 1024 // answers for which there is room when there are none
)

// giveSome gives some answers, and goes on in the next turn if there are more.
func (l *Loop) giveSome() {
	if l.given == len(l.giving) {
		l.take()
	}
	some := l.giving[l.given:min(l.given+settleAtOnce, len(l.giving))]
	l.given += len(some)
	for i := range some {
		x := &some[i]
		x.link.settle(x.id, x.qos, refusal(x.err))
	}
	clear(some)
	if l.more() {
		l.goOn()
	}
}

// take makes what was settled what is given.
func (l *Loop) take() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cap(l.giving) > keptSettled {
		l.giving = nil
	}
	l.giving, l.settled, l.given = l.settled, l.giving[:0], 0
}

// more reports whether answers are left.
func (l *Loop) more() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.posted = l.given < len(l.giving) || len(l.settled) > 0
	return l.posted
}
