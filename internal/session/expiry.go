package session

import (
	"container/heap"
	"sync"
	"time"
)

// expirer ends sessions whose device has been away for too long. A session has at most one
// entry, however often its device comes and goes: when it is due, it is looked at, and
// moved on if the session lives.
type expirer struct {
	due func(*Session) (again time.Time)

	// Guarded by mu.
	mu      sync.Mutex
	entries expiries
	timer   *time.Timer
	stopped bool
}

type expiry struct {
	at      time.Time
	session *Session
}

// add looks at s at the given time.
func (x *expirer) add(s *Session, at time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	heap.Push(&x.entries, expiry{at, s})
	x.schedule()
}

func (x *expirer) schedule() {
	if len(x.entries) == 0 || x.stopped {
		return
	}
	in := max(time.Until(x.entries[0].at), time.Millisecond)
	if x.timer == nil {
		x.timer = time.AfterFunc(in, x.run)
	} else {
		x.timer.Reset(in)
	}
}

// run looks at the sessions that are due.
func (x *expirer) run() {
	for {
		x.mu.Lock()
		if len(x.entries) == 0 || x.entries[0].at.After(time.Now()) {
			x.schedule()
			x.mu.Unlock()
			return
		}
		e := heap.Pop(&x.entries).(expiry)
		x.mu.Unlock()
		if again := x.due(e.session); !again.IsZero() {
			x.add(e.session, again)
		}
	}
}

func (x *expirer) stop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stopped = true
	if x.timer != nil {
		x.timer.Stop()
	}
}

// expiries is a heap by time.
type expiries []expiry

func (h expiries) Len() int           { return len(h) }
func (h expiries) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h expiries) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *expiries) Push(x any)        { *h = append(*h, x.(expiry)) }
func (h *expiries) Pop() any {
	n := len(*h) - 1
	e := (*h)[n]
	(*h)[n] = expiry{}
	*h = (*h)[:n]
	return e
}
