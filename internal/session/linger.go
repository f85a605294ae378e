package session

import (
	"sync"
	"time"
)

// linger is how long a connected session may keep an empty queue: to open and close one for
// each message costs more than the message.
const linger = time.Second

// lingering are the sessions with an open queue that was empty, each once. There is no timer
// while there are none.
type lingering struct {
	reclaim func() // called without locks

	// Guarded by mu, which is taken after a session's lock, never before.
	mu       sync.Mutex
	sessions []*Session
	timer    *time.Timer
}

func (l *lingering) add(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sessions = append(l.sessions, s)
	switch {
	case len(l.sessions) > 1:
	case l.timer == nil:
		l.timer = time.AfterFunc(linger, l.reclaim)
	default:
		l.timer.Reset(linger)
	}
}

func (l *lingering) take() []*Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.sessions
	l.sessions = nil
	return taken
}

func (l *lingering) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
}

// reclaim hands the queues that are empty now back to the store. A session that is busy
// opens another.
func (m *Manager) reclaim() {
	for _, s := range m.lingering.take() {
		s.mu.Lock()
		s.lingers = false
		if s.queue != nil && s.queue.Empty() {
			s.closeQueue()
		}
		s.mu.Unlock()
	}
}
