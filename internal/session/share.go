package session

import (
	"slices"
	"sync"
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
	s.drop(router.SessionEnded, 1)
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
	if len(shares) > 0 {
		s.manager.orphans.add(s.takeShared(func(share string) bool { return slices.Contains(shares, share) }), s)
	}
}

// bequeath leaves what came by shares to their other members: the session has ended. Locked.
func (s *Session) bequeath() {
	s.manager.orphans.add(s.takeShared(func(string) bool { return true }), nil)
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
		if share == "" || !give(share) || s.exchanges(m) {
			return false
		}
		held = append(held, router.Held{Message: m, QoS: q})
		return true
	}, time.Now())
	s.tidy()
	return held
}

// exchanges tells whether m is a QoS 2 message that was sent and not received for certain.
func (s *Session) exchanges(m *message.Message) bool {
	return s.mqtt != nil && slices.ContainsFunc(s.mqtt.sent.list, func(p packet) bool {
		return p.message == m.ID && p.qos == message.ExactlyOnce
	})
}

// orphans are messages that came by shares and go to other members once no session is locked.
type orphans struct {
	// Guarded by mu, under which nothing else is locked.
	mu   sync.Mutex
	list []orphan
}

// orphan is what one session gave away.
type orphan struct {
	held []router.Held
	home *Session // takes back what nobody on line has room for; nil when it has ended
}

// add is called with a session locked.
func (o *orphans) add(held []router.Held, home *Session) {
	if len(held) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, orphan{held, home})
}

func (o *orphans) take() []orphan {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := o.list
	o.list = nil
	return list
}

// redeliver gives the orphans to other members. No lock may be held.
func (m *Manager) redeliver() {
	for _, o := range m.orphans.take() {
		if o.home == nil {
			m.router.Redeliver(o.held, nil)
		} else {
			m.router.Redeliver(o.held, o.home)
		}
	}
}
