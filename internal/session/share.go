package session

import (
	"math"
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

// redeliverAll queues, for a session that has ended, the messages that came by shares for other members, and the line
// of messages that wait for room for their answers. The session is locked.
func (s *Session) redeliverAll() {
	s.giveQueued(math.MaxInt, nil, func(string) bool { return true })
	if s.waiting != nil {
		s.giveBack(s.waiting.Len())
		s.manager.redeliveries.add(redelivery{line: s.waiting})
		s.waiting = nil
	}
}

// giveQueued removes from the queue, which has no message in flight, up to most messages that came by shares for which give returns
// true, and queues them for the other members, in order. home is the session, or nil if it has ended. giveQueued returns how many
// there were. The session is locked.
//
// A QoS 2 message that was sent stays: no other device may get it [MQTT-4.8.2-4] [MQTT-4.8.2-5]. Until another member has a durable
// message, the store keeps it as an orphan.
func (s *Session) giveQueued(most int, home *Session, give func(share string) bool) (n int) {
	if s.queue == nil {
		return 0
	}
	durable := s.queue.Durable()
	var given []redelivery
	s.queue.Remove(func(m *message.Message, q message.QoS) (orphan string, remove bool) {
		share := router.ShareOf(m)
		if share == "" || len(given) == most || !give(share) {
			return "", false
		}
		if durable && q > message.AtMostOnce {
			orphan = orphanKey(m, s.device)
			d := *m.Delivery
			d.Orphan = orphan
			m = m.With(&d)
		}
		given = append(given, redelivery{held: router.Held{Message: m, QoS: q}, home: home})
		return orphan, true
	}, time.Now())
	s.reclaimQueue()
	s.redeliver(given)
	return len(given)
}

// redeliver queues messages for runBacklogs. The session is locked.
func (s *Session) redeliver(all []redelivery) {
	s.giveBack(len(all))
	s.manager.redeliveries.add(all...)
}

// redelivery is a message that a session passes on while it is not locked: to another member of the share by which it
// came. Or it is the whole line of messages that waited for room in a session that has ended.
type redelivery struct {
	held router.Held
	line *router.Waiting // of a session that has ended; held is then empty
	home *Session        // takes back what no member on line takes; nil when it has ended. With a line, it is the shadow that passes that on
}

// redeliverAtOnce is how many messages of a line one call of redeliver handles.
const redeliverAtOnce = 4

// redeliver passes a message on, or a few messages of a line.
func (m *Manager) redeliver(o *redelivery) {
	switch {
	case o.line != nil && o.home != nil:
		if o.home.passLine(o.line) {
			m.redeliveries.add(*o)
		}
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
