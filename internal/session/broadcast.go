package session

import (
	"context"
	"slices"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
)

// Broadcast delivers msg, which must have a valid topic, to every device that
// has a subscription in common with filter, or to all when filter is empty, whatever the
// topic. QoS 0 reaches those on line, QoS 1 also those that are away; it waits, as long as a
// publisher, for those whose queue is full. It returns the number of devices. When ctx ends it waits no
// longer: what waits for room goes on to.
func (m *Manager) Broadcast(ctx context.Context, msg *message.Message, filter string) (int, error) {
	if msg.QoS > message.AtMostOnce {
		if err := m.router.CheckQuota(msg.Debtor); err != nil {
			return 0, err
		}
	}
	msg, err := m.router.Own(msg)
	if err != nil {
		return 0, err
	}
	to := m.receivers(msg.QoS, filter)
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	taken := make(chan struct{})
	if later, _ := m.router.DeliverTo(to, msg, func(error) { close(taken) }); !later {
		return len(to), nil
	}
	select {
	case <-taken: // within router.Config.MaxWait; what was not taken is counted
		return len(to), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// receivers finds the sessions that a broadcast is for: first those that are away, then those of
// one loop after the other. A loop that is woken finds many to send to, instead of being woken
// again for each.
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

// all lists the sessions: the manager is locked no longer than that takes.
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

// receives reports whether a broadcast is for s, and the loop of its connection, from 1; 0 is none.
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

// addresses tells whether a broadcast to filter is for who has the subscription: of a shared
// one, what topics are matched with counts, or all of it when filter names the group.
func addresses(filter, subscription string) bool {
	_, rest, shared, _ := topic.Shared(subscription) // which is valid
	return topic.Overlap(filter, rest) || shared && topic.Overlap(filter, subscription)
}
