package session

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/wire"
)

// A device promises to acknowledge what it is sent. While it does not, its queue stays full, and publishers
// wait for room in it. So the promise has a deadline, Config.AckTimeout, for devices for which others wait: the
// connection of one that breaks it is closed. What waits for it then has the place of its oldest
// messages, as for any device that is away; and when it comes back, until it acknowledges something.

// laggards are the sessions for which publishers wait. Few ever are, so what is known of them is kept apart from
// the sessions. There is no timer while there are none.
type laggards struct {
	look  func() // called without locks
	every time.Duration

	// Safe from any goroutine.
	broken atomic.Int32 // the length of faithless

	// Guarded by mu, which is taken after a session's lock, never before.
	mu        sync.Mutex
	sessions  map[*Session]struct{}
	faithless map[*Session]*Link // those that were closed, and have acknowledged nothing since; the link that was
	timer     *time.Timer
	stopped   bool
}

func (l *laggards) add(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions == nil {
		l.sessions = make(map[*Session]struct{})
	}
	l.sessions[s] = struct{}{}
	if len(l.sessions) == 1 {
		l.arm()
	}
}

// arm has look called. l is locked.
func (l *laggards) arm() {
	switch {
	case l.stopped || len(l.sessions) == 0:
	case l.timer == nil:
		l.timer = time.AfterFunc(l.every, l.look)
	default:
		l.timer.Reset(l.every)
	}
}

func (l *laggards) list() []*Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.sessions))
}

func (l *laggards) remove(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sessions, s)
}

// blame notes that s has broken its promise on a connection, and reports whether that is news.
func (l *laggards) blame(s *Session, on *Link) (news bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.faithless[s] == on {
		return false
	}
	if l.faithless == nil {
		l.faithless = make(map[*Session]*Link)
	}
	l.faithless[s] = on
	l.broken.Store(int32(len(l.faithless)))
	return true
}

func (l *laggards) blames(s *Session) bool {
	if l.broken.Load() == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.faithless[s] != nil
}

func (l *laggards) forgive(s *Session) {
	if l.broken.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.faithless, s)
	l.broken.Store(int32(len(l.faithless)))
}

func (l *laggards) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	if l.timer != nil {
		l.timer.Stop()
	}
}

// lookAtLaggards closes the connections of those that have not acknowledged in time.
func (m *Manager) lookAtLaggards() {
	now := time.Now()
	for _, s := range m.laggards.list() {
		s.lookAt(now)
	}
	m.laggards.mu.Lock()
	defer m.laggards.mu.Unlock()
	m.laggards.arm()
}

// lookAt closes the connection if the time of its oldest message is over.
func (s *Session) lookAt(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil || s.ended {
		s.manager.laggards.remove(s)
		return
	}
	since, ok := s.unacknowledged()
	if ok && s.link != nil && now.Sub(since) >= s.manager.config.AckTimeout && s.manager.laggards.blame(s, s.link) {
		s.link.conn.Close(wire.CloseAckTimeout)
	}
}

// unacknowledged returns since when the oldest message in flight waits for its acknowledgement; ok is false when none
// does.
func (s *Session) unacknowledged() (since time.Time, ok bool) {
	if s.queue == nil {
		return time.Time{}, false
	}
	return s.queue.Oldest()
}

// faithless reports whether the device has broken its promise, and acknowledged nothing since. Locked.
func (s *Session) faithless() bool { return s.manager.laggards.blames(s) }

// acknowledged notes that the device keeps its promise. Locked.
func (s *Session) acknowledged() { s.manager.laggards.forgive(s) }
