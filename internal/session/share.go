package session

import (
	"slices"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
)

// State implements router.Member: a device is busy that has not been sent all it is owed.
func (s *Session) State() router.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.link == nil:
		return router.Away
	case s.next != nil || s.waiting != nil || s.unsent() > 0:
		return router.Busy
	}
	return router.Free
}

// refuseEnded is what an ended session says to a message: of a share, another member is to
// have it. Locked.
func (s *Session) refuseEnded(m *message.Message) error {
	if router.ShareOf(m) != "" {
		return router.ErrGone
	}
	s.lose(m, router.SessionEnded)
	return nil
}

// elsewhere lists the session's shares that have another member on line.
func (s *Session) elsewhere() []string {
	var shares []string
	s.mu.Lock()
	for i := range s.subscriptions {
		if f := s.subscriptions[i].Filter; topic.IsShared(f) {
			shares = append(shares, f)
		}
	}
	s.mu.Unlock()
	return slices.DeleteFunc(shares, func(f string) bool { return !s.manager.router.Elsewhere(f, s) })
}

// giveAway offers what came by the shares to their other members, as MQTT 5 §4.8.2 lets a
// server do when the connection ends. Locked.
func (s *Session) giveAway(shares []string) {
	if len(shares) == 0 {
		return
	}
	s.orphan(s.takeShared(func(share string) bool { return slices.Contains(shares, share) }), s)
}

// bequeath leaves what came by shares to their other members, and those whose messages wait for room an answer: the
// session has ended. Locked.
func (s *Session) bequeath() {
	s.orphan(s.takeQueued(func(string) bool { return true }), nil)
	if s.waiting != nil {
		s.manager.orphans.add(orphan{line: s.waiting})
		s.waiting = nil
	}
}

// orphan leaves messages to whoever runs the manager's chores next.
func (s *Session) orphan(held []router.Held, home *Session) {
	all := make([]orphan, len(held))
	for i, h := range held {
		all[i] = orphan{held: h, home: home}
	}
	s.manager.orphans.add(all...)
}

// takeShared takes out what came by the shares that give names, in order: what is owed, and
// what waits for room. The device is away. Locked.
func (s *Session) takeShared(give func(share string) bool) []router.Held {
	held := s.takeQueued(give)
	if s.waiting != nil {
		held = append(held, s.waiting.TakeShared(give)...)
		s.forgetWaiting()
	}
	return held
}

// takeQueued is takeShared for the queue, which has nothing in flight. [MQTT-4.8.2-4] and
// [MQTT-4.8.2-5]: a QoS 2 message that was sent is for this device and no other.
func (s *Session) takeQueued(give func(share string) bool) (held []router.Held) {
	if s.queue == nil {
		return nil
	}
	s.queue.Remove(func(m *message.Message, q message.QoS) bool {
		share := router.ShareOf(m)
		if share == "" || !give(share) {
			return false
		}
		held = append(held, router.Held{Message: m, QoS: q})
		return true
	}, time.Now())
	s.tidy()
	return held
}

// orphan is a message that a session gives away once it is not locked: to another member of its share, if it came
// by one. Or it is the whole line of those that waited for room.
type orphan struct {
	held router.Held
	line *router.Waiting // of a session that has ended; held is nothing then
	home *Session        // takes back what nobody on line has room for; nil when it has ended
}

// rehomeAtOnce is how many of a line are a piece of work.
const rehomeAtOnce = 4

// rehome gives an orphan away, or a few of a line.
func (m *Manager) rehome(o *orphan) {
	switch {
	case o.line != nil:
		if left := o.line.Take(rehomeAtOnce); len(left) > 0 {
			m.router.Redeliver(left, nil)
			m.orphans.add(*o) // the rest is another piece of work
		}
	case o.home != nil:
		m.router.Redeliver([]router.Held{o.held}, o.home)
	default:
		m.router.Redeliver([]router.Held{o.held}, nil)
	}
}
