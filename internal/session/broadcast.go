package session

import (
	"errors"
	"slices"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
)

// Broadcast delivers msg, which must be owned and have a valid topic, to every device that
// has a subscription in common with filter, or to all when filter is empty, whatever the
// topic. QoS 0 reaches those on line, QoS 1 also those that are away; it waits, as long as a
// publisher, for those whose queue is full. It returns the number of devices.
func (m *Manager) Broadcast(msg *message.Message, filter string) int {
	to := m.receivers(msg.QoS, filter)
	taken := make(chan struct{})
	if errors.Is(m.router.Offer(msg, to, func(error) { close(taken) }), router.ErrFull) {
		<-taken // within router.Config.MaxWait; what was not taken is counted
	}
	return len(to)
}

// receivers finds the sessions that a broadcast is for.
func (m *Manager) receivers(q message.QoS, filter string) []router.Hit {
	var hits []router.Hit
	for _, s := range m.all() {
		if s.receives(q, filter) {
			hits = append(hits, router.Hit{Subscriber: s, QoS: q})
		}
	}
	return hits
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

func (s *Session) receives(q message.QoS, filter string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || (q == message.AtMostOnce && s.link == nil) {
		return false
	}
	if filter == "" {
		return true
	}
	return slices.ContainsFunc(s.subscriptions, func(sub topic.Subscription) bool {
		return addresses(filter, sub.Filter)
	})
}

// addresses tells whether a broadcast to filter is for who has the subscription: of a shared
// one, what topics are matched with counts, or all of it when filter names the group.
func addresses(filter, subscription string) bool {
	_, rest, shared, _ := topic.Shared(subscription) // which is valid
	return topic.Overlap(filter, rest) || shared && topic.Overlap(filter, subscription)
}
