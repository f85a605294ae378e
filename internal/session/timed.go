package session

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// timedSessions lists, once each, the sessions that a timer looks at. While there are none, no timer runs.
type timedSessions struct {
	look  func() // called without locks; it calls again at its end
	every time.Duration

	// Guarded by mu, which is taken after a session's lock, never before.
	mu       sync.Mutex
	sessions map[*Session]struct{}
	timer    *time.Timer
	stopped  bool
}

func (l *timedSessions) add(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions == nil {
		l.sessions = make(map[*Session]struct{})
	}
	if l.sessions[s] = struct{}{}; len(l.sessions) == 1 {
		l.arm()
	}
}

// again makes the timer look once more, if there are sessions left.
func (l *timedSessions) again() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arm()
}

// arm is again, locked.
func (l *timedSessions) arm() {
	switch {
	case l.stopped || len(l.sessions) == 0:
	case l.timer == nil:
		l.timer = time.AfterFunc(l.every, l.look)
	default:
		l.timer.Reset(l.every)
	}
}

// list returns the sessions, which stay in the list.
func (l *timedSessions) list() []*Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.sessions))
}

func (l *timedSessions) remove(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if delete(l.sessions, s); len(l.sessions) == 0 {
		l.sessions = nil // a map does not shrink
	}
}

func (l *timedSessions) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	if l.timer != nil {
		l.timer.Stop()
	}
}
