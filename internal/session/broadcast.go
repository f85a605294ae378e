package session

import (
	"context"
	"slices"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
)

// Broadcast delivers msg, which must have a valid topic, to every device that has a subscription in common with
// filter, or to all devices if filter is empty. The topic of msg does not matter. QoS 0 reaches devices that are on
// line, QoS 1 also those that are away. Broadcast waits for devices whose queue is full, as long as a publisher does,
// and returns the number of devices. When ctx ends, Broadcast returns; the messages that wait for room continue to
// wait.
func (m *Manager) Broadcast(ctx context.Context, msg *message.Message, filter string) (int, error) {
	taken := make(chan error, 1)
	n := m.BroadcastThen(msg, filter, func(err error) { taken <- err })
	select {
	case err := <-taken: // after router.Config.MaxWait at the latest
		if err != nil {
			return 0, err
		}
		return n, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// BroadcastThen is Broadcast for a caller that does not wait: it calls done once, from any goroutine, perhaps before it returns. The error is why
// msg was refused for all devices; what single devices refuse is counted as dropped.
func (m *Manager) BroadcastThen(msg *message.Message, filter string, done func(error)) int {
	msg, err := m.ownBroadcast(msg)
	if err != nil {
		m.router.CountRefused(msg, err)
		done(err)
		return 0
	}
	to := m.receivers(msg.QoS, filter)
	if later, _ := m.router.DeliverTo(to, msg, func(error) { done(nil) }); !later {
		done(nil)
	}
	return len(to)
}

// ownBroadcast returns an owned copy of msg, or msg with the error why it is refused.
func (m *Manager) ownBroadcast(msg *message.Message) (*message.Message, error) {
	if msg.QoS > message.AtMostOnce {
		if err := m.router.CheckQuota(msg.Debtor); err != nil {
			return msg, err
		}
	}
	own, err := m.router.Own(msg)
	if err != nil {
		return msg, err
	}
	return own, nil
}

// receivers returns the sessions that get a broadcast: first those that are away, then those of one loop after the
// other. So a loop wakes once and finds many messages to send, instead of waking for each.
func (m *Manager) receivers(q message.QoS, filter string) []router.Hit {
	var byLoop [][]router.Hit
	for _, s := range m.all() {
		loop, receives := s.receives(q, filter)
		if !receives {
			continue
		}
		for len(byLoop) <= loop {
			byLoop = append(byLoop, nil)
		}
		byLoop[loop] = append(byLoop[loop], router.Hit{Subscriber: s, QoS: q})
	}
	return slices.Concat(byLoop...)
}

// all returns the sessions. It holds the manager's lock only while it copies them.
func (m *Manager) all() []*Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*Session, 0, m.sessions.Len())
	m.sessions.Scan(func(s *Session) bool {
		all = append(all, s)
		return true
	})
	return all
}

// receives reports whether s gets a broadcast, and the index of its connection's loop, from 1; 0 if it is away.
func (s *Session) receives(q message.QoS, filter string) (loop int, is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil {
		loop = 1 + s.link.conn.Loop().index
	}
	if s.ended || (q == message.AtMostOnce && s.link == nil) {
		return 0, false
	}
	return loop, filter == "" || slices.ContainsFunc(s.subscriptions, func(sub topic.Subscription) bool {
		return addresses(filter, sub.Filter)
	})
}

// addresses reports whether a broadcast to filter is for the holder of a subscription. For a shared one its filter
// without the group counts, or all of it if filter names the group.
func addresses(filter, subscription string) bool {
	_, rest, shared, _ := topic.Shared(subscription) // subscription is valid
	return topic.Overlap(filter, rest) || shared && topic.Overlap(filter, subscription)
}
