package session

import (
	"sync"

	"github.com/longline/longline/internal/wire"
)

// Loop collects the answers to publications that waited and the replies of services, for the connections of one event loop. Answers that come
// together cost one post, however many connections of the loop they are for. The gateway makes one per loop.
type Loop struct {
	// Static after construction.
	index int
	post  func(func()) bool
	run   func() // answerSome as a func value, made once

	// Owned by the loop.
	batch    []settlement
	answered int                     // of giving
	calls    map[*Link]*serviceCalls // of connections that have calls under way
	lastCall uint64                  // the id of the last call that came without one
	reply    wire.Packet             // reused for each reply

	// Guarded by mu, which is taken after a session's lock, never before.
	mu      sync.Mutex
	settled []settlement
	posted  bool // answerSome is posted
	ended   bool
}

// settlement is the answer to a publication that waited, or the reply to a call.
type settlement struct {
	call  *serviceCall // nil for a publication
	link  *Link
	place uint32
	err   error
}

// NewLoop makes the Loop with the given index, from 0. post runs a function on the loop soon, never at once, and
// returns false if the loop has ended. NewLoop's Loop calls post from any goroutine; post must not block.
func NewLoop(index int, post func(func()) bool) *Loop {
	l := &Loop{index: index, post: post, calls: make(map[*Link]*serviceCalls)}
	l.run = l.answerSome
	return l
}

// settle adds an answer, which the loop sends soon. Safe from any goroutine.
func (l *Loop) settle(x settlement) {
	l.mu.Lock()
	post := !l.posted && !l.ended
	if !l.ended {
		l.settled, l.posted = append(l.settled, x), true
	}
	l.mu.Unlock()
	if post {
		l.schedule()
	}
}

// schedule posts answerSome to the loop. If the loop has ended, it drops the answers.
func (l *Loop) schedule() {
	if l.post(l.run) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended, l.settled = true, nil
}

const (
	answersPerTurn = 128  // answers per turn
	keptSettled    = 1024 // largest capacity that an empty batch keeps
)

// answerSome sends up to answersPerTurn answers, and posts itself if there are more. On the loop.
func (l *Loop) answerSome() {
	if l.answered == len(l.batch) {
		l.nextBatch()
	}
	some := l.batch[l.answered:min(l.answered+answersPerTurn, len(l.batch))]
	l.answered += len(some)
	for i := range some {
		x := &some[i]
		if x.call != nil {
			x.call.replyNow()
		} else {
			x.link.settle(x.place, refusal(x.err))
		}
	}
	clear(some)
	if l.more() {
		l.schedule()
	}
}

// nextBatch makes the collected answers the batch.
func (l *Loop) nextBatch() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cap(l.batch) > keptSettled {
		l.batch = nil
	}
	l.batch, l.settled, l.answered = l.settled, l.batch[:0], 0
}

// more reports whether answers are left.
func (l *Loop) more() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.posted = l.answered < len(l.batch) || len(l.settled) > 0
	return l.posted
}
