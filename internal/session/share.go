package session

import (
	"slices"
	"time"

	"github.com/longline/longline/internal/ledger"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
)

// State implements router.Member. A device is Busy if messages for it wait to be sent.
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

// refuseEnded refuses a message because the session has ended. If it came by a share, another member gets it. The
// session is locked.
func (s *Session) refuseEnded(m *message.Message) error {
	if router.ShareOf(m) != "" {
		return router.ErrGone
	}
	s.manager.router.Drop(m, s.device, router.SessionEnded, 1)
	s.manager.ended.add(&ledger.Receiver{Taken: 1, Dropped: ledger.Counts{{Why: router.SessionEnded.String(), N: 1}}}, new(ledger.Publisher))
	return nil
}

// sharesElsewhere returns the filters of the session's shares that have another member on line.
func (s *Session) sharesElsewhere() []string {
	var shares []string
	s.mu.Lock()
	for i := range s.subscriptions {
		if f := s.subscriptions[i].Filter; topic.IsShared(f) {
			shares = append(shares, f)
		}
	}
	s.mu.Unlock()
	return slices.DeleteFunc(shares, func(f string) bool { return !s.manager.router.OtherMemberOnline(f, s) })
}

// redeliverShares queues the messages that came by the shares for their other members, as MQTT 5 §4.8.2 lets a server
// do when the connection ends. The session is locked.
func (s *Session) redeliverShares(shares []string) {
	if len(shares) == 0 {
		return
	}
	wanted := make(map[string]bool, len(shares)) // a session may have a thousand shares, and each message is looked up while locked
	for _, share := range shares {
		wanted[share] = true
	}
	s.redeliverLater(s.takeShared(func(share string) bool { return wanted[share] }), s)
}

// redeliverAll queues, for a session that has ended, the messages that came by shares for other members, and the line
// of messages that wait for room for their answers. The session is locked.
func (s *Session) redeliverAll() {
	s.redeliverLater(s.takeSharedQueued(func(string) bool { return true }), nil)
	if s.waiting != nil {
		s.giveBack(s.waiting.Len())
		s.manager.redeliveries.add(redelivery{line: s.waiting})
		s.waiting = nil
	}
}

// redeliverLater queues messages for runBacklogs. home is the session that takes back what no member takes; nil if it
// has ended.
func (s *Session) redeliverLater(held []router.Held, home *Session) {
	s.giveBack(len(held))
	all := make([]redelivery, len(held))
	for i, h := range held {
		all[i] = redelivery{held: h, home: home}
	}
	s.manager.redeliveries.add(all...)
}

// takeShared removes and returns, in order, the queued and waiting messages that came by shares for which give returns
// true. The device is away. The session is locked.
func (s *Session) takeShared(give func(share string) bool) []router.Held {
	held := s.takeSharedQueued(give)
	if s.waiting != nil {
		held = append(held, s.waiting.TakeShared(give)...)
		s.forgetWaiting()
	}
	return held
}

// takeSharedQueued is takeShared for the queue, which has no message in flight. A QoS 2 message that was sent stays:
// no other device may get it [MQTT-4.8.2-4] [MQTT-4.8.2-5].
func (s *Session) takeSharedQueued(give func(share string) bool) (held []router.Held) {
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
	s.reclaimQueue()
	return held
}

// redelivery is a message that a session passes on while it is not locked: to another member of the share by which it
// came. Or it is the whole line of messages that waited for room in a session that has ended.
type redelivery struct {
	held router.Held
	line *router.Waiting // of a session that has ended; held is then empty
	home *Session        // takes back what no member on line takes; nil when it has ended
}

// redeliverAtOnce is how many messages of a line one call of redeliver handles.
const redeliverAtOnce = 4

// redeliver passes a message on, or a few messages of a line.
func (m *Manager) redeliver(o *redelivery) {
	switch {
	case o.line != nil:
		if left := o.line.Take(redeliverAtOnce); len(left) > 0 {
			m.router.Redeliver(left, nil)
			m.redeliveries.add(*o) // for the rest
		}
	case o.home != nil:
		m.router.Redeliver([]router.Held{o.held}, o.home)
	default:
		m.router.Redeliver([]router.Held{o.held}, nil)
	}
}
