package session

import (
	"sync"
	"time"
)

// reclaimAfter is how long a connected session keeps an empty queue open: to open and close a queue per message costs
// more than the message.
const reclaimAfter = time.Second

// emptyQueues lists, once each, the connected sessions whose open queue became empty. While there are none, no timer
// runs.
type emptyQueues struct {
	reclaim func() // called without locks

	// Guarded by mu, which is taken after a session's lock, never before.
	mu       sync.Mutex
	sessions []*Session
	timer    *time.Timer
}

func (l *emptyQueues) add(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sessions = append(l.sessions, s)
	switch {
	case len(l.sessions) > 1:
	case l.timer == nil:
		l.timer = time.AfterFunc(reclaimAfter, l.reclaim)
	default:
		l.timer.Reset(reclaimAfter)
	}
}

func (l *emptyQueues) take() []*Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.sessions
	l.sessions = nil
	return taken
}

func (l *emptyQueues) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
}

// reclaim closes the queues that are still empty. A session that needs its queue again opens it.
func (m *Manager) reclaim() {
	for _, s := range m.emptyQueues.take() {
		s.mu.Lock()
		s.inEmptyQueues = false
		if s.queue != nil && s.queue.Empty() {
			s.closeQueue()
		}
		s.mu.Unlock()
	}
}
