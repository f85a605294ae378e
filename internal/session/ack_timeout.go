package session

import (
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/wire"
)

// While a device does not acknowledge messages, its queue stays full, and publishers wait for room in it. If publishers wait and
// the device leaves a message unacknowledged for Config.AckTimeout, the manager closes its connection. From then on waiting
// messages push out the oldest messages of the queue, as for any device that is away, until the device acknowledges a message.

// ackTimeouts watches the sessions for which publishers wait. There are few, so it is apart from the sessions.
type ackTimeouts struct {
	timedSessions

	// Safe from any goroutine.
	timeouts atomic.Int32 // the length of timedOut

	timedOut map[*Session]*Link // sessions whose connection was closed and that acknowledged nothing since; with the closed link. Guarded by mu
}

// mark notes that s timed out on a connection, and reports whether it was not noted before.
func (l *ackTimeouts) mark(s *Session, on *Link) (news bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timedOut[s] == on {
		return false
	}
	if l.timedOut == nil {
		l.timedOut = make(map[*Session]*Link)
	}
	l.timedOut[s] = on
	l.timeouts.Store(int32(len(l.timedOut)))
	return true
}

// has reports whether s timed out and has acknowledged nothing since.
func (l *ackTimeouts) has(s *Session) bool {
	if l.timeouts.Load() == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.timedOut[s] != nil
}

// clear undoes mark.
func (l *ackTimeouts) clear(s *Session) {
	if l.timeouts.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.timedOut, s)
	l.timeouts.Store(int32(len(l.timedOut)))
}

// checkAckTimeouts closes the connections of devices that did not acknowledge in time.
func (m *Manager) checkAckTimeouts() {
	now := time.Now()
	for _, s := range m.ackTimeouts.list() {
		s.checkAckTimeout(now)
	}
	m.ackTimeouts.again()
}

// checkAckTimeout closes the connection if its oldest message in flight has waited for Config.AckTimeout.
func (s *Session) checkAckTimeout(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil || s.ended {
		s.manager.ackTimeouts.remove(s)
		return
	}
	since, ok := s.unacknowledged()
	if ok && s.link != nil && now.Sub(since) >= s.manager.config.AckTimeout && s.manager.ackTimeouts.mark(s, s.link) {
		s.link.conn.Close(wire.CloseAckTimeout)
	}
}

// unacknowledged returns when the oldest message in flight was sent; ok is false if none is in flight.
func (s *Session) unacknowledged() (since time.Time, ok bool) {
	if s.queue == nil {
		return time.Time{}, false
	}
	return s.queue.Oldest()
}

// ackTimedOut reports whether the device did not acknowledge in time and has acknowledged nothing since. The session
// is locked.
func (s *Session) ackTimedOut() bool { return s.manager.ackTimeouts.has(s) }

// acknowledged notes that the device has acknowledged a message. The session is locked.
func (s *Session) acknowledged() { s.manager.ackTimeouts.clear(s) }
