package session

import (
	"container/heap"
	"sync"
	"time"
)

// expirer ends sessions whose devices were away for too long. It holds each session whose device is away once.
type expirer struct {
	end func(*Session) // called without locks; it checks that the session is due

	// Guarded by mu, which is taken after a session's lock, never before.
	mu      sync.Mutex
	line    expiries
	timer   *time.Timer
	running bool // between start and stop
}

// expiry is the entry of one session, which knows its place in the heap.
type expiry struct {
	at      int64 // Unix milliseconds
	session *Session
}

// set makes s end at the given time, in Unix milliseconds, unless cancel comes first.
func (x *expirer) set(s *Session, at int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.remove(s)
	heap.Push(&x.line, expiry{at, s})
	if x.line[0].session == s {
		x.schedule()
	}
}

// cancel removes s. If run is about to end s, end sees that s is not due.
func (x *expirer) cancel(s *Session) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.remove(s)
}

func (x *expirer) remove(s *Session) {
	if s.place > 0 {
		heap.Remove(&x.line, int(s.place)-1)
	}
}

// start begins to end sessions.
func (x *expirer) start() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.running = true
	x.schedule()
}

// schedule arms the timer for the earliest expiry.
func (x *expirer) schedule() {
	if len(x.line) == 0 || !x.running {
		return
	}
	in := time.Until(time.UnixMilli(x.line[0].at))
	if x.timer == nil {
		x.timer = time.AfterFunc(in, x.run)
	} else {
		x.timer.Reset(in)
	}
}

// run ends the sessions that are due.
func (x *expirer) run() {
	for s := x.due(); s != nil; s = x.due() {
		x.end(s)
	}
}

// due removes and returns a session that is due. If there is none, it arms the timer for the next and returns nil.
func (x *expirer) due() *Session {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.running || len(x.line) == 0 || x.line[0].at > time.Now().UnixMilli() {
		x.schedule()
		return nil
	}
	return heap.Pop(&x.line).(expiry).session
}

func (x *expirer) stop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.running = false
	if x.timer != nil {
		x.timer.Stop()
	}
}

// expiries is a heap by time.
type expiries []expiry

func (h expiries) Len() int           { return len(h) }
func (h expiries) Less(i, j int) bool { return h[i].at < h[j].at }

func (h expiries) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].session.place, h[j].session.place = int32(i)+1, int32(j)+1
}

func (h *expiries) Push(x any) {
	e := x.(expiry)
	*h = append(*h, e)
	e.session.place = int32(len(*h))
}

func (h *expiries) Pop() any {
	n := len(*h) - 1
	e := (*h)[n]
	(*h)[n] = expiry{}
	*h = (*h)[:n]
	e.session.place = 0
	return e
}
