package session

import (
	"fmt"
	"slices"
	"strings"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// subscribe adds a packet's filters, all or none, and what is retained for them. The answer
// leaves before any message does: those wait for the next flush.
func (l *Link) subscribe(p *wire.Packet) {
	s := l.session
	refused := s.manager.checkFilters(p.Filters)
	if refused.Code != "" {
		l.acknowledge(p.ID, refused)
		return
	}
	filters := make([]string, len(p.Filters))
	for i, f := range p.Filters {
		filters[i] = strings.Clone(f)
	}
	s.mu.Lock()
	live := s.link == l
	if live {
		if err := s.subscribe(filters, p.QoS); err != nil {
			refused = wire.Error{Code: codeTooManySubscriptions, Reason: err.Error()}
		} else {
			s.takeRetained(filters, p.QoS)
		}
	}
	s.mu.Unlock()
	if live {
		l.acknowledge(p.ID, refused)
	}
}

// checkFilters refuses what no session may subscribe to.
func (m *Manager) checkFilters(filters []string) wire.Error {
	if n := m.config.MaxFilters; len(filters) > n {
		return wire.Error{Code: codeTooManyFilters, Reason: fmt.Sprintf("a packet may have %d filters", n)}
	}
	for _, f := range filters {
		if err := topic.ValidateFilter(f, m.config.Topics); err != nil {
			return wire.Error{Code: codeBadFilter, Reason: err.Error()}
		}
	}
	return wire.Error{}
}

// Subscribe adds a subscription on the device's behalf, without what is retained. The
// filter must be valid; it is kept.
func (l *Link) Subscribe(filter string, q message.QoS) error {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return nil
	}
	return s.subscribe([]string{filter}, q)
}

// subscribe records subscriptions and tells the router, which never calls back from there.
// Locked, so that a takeover cannot come in between.
func (s *Session) subscribe(filters []string, q message.QoS) error {
	most := s.manager.config.MaxSubscriptions
	subscriptions := slices.Clone(s.subscriptions)
	for _, f := range filters {
		at := slices.IndexFunc(subscriptions, named(f))
		switch {
		case at >= 0:
			subscriptions[at].QoS = q
		case len(subscriptions) >= most:
			return fmt.Errorf("a device may have %d subscriptions", most)
		default:
			subscriptions = append(subscriptions, topic.Subscription{Filter: f, QoS: q})
		}
	}
	s.subscriptions = subscriptions
	for _, f := range filters {
		s.manager.router.Subscribe(f, s, q)
	}
	return nil
}

func named(filter string) func(topic.Subscription) bool {
	return func(sub topic.Subscription) bool { return sub.Filter == filter }
}

// takeRetained queues the retained messages that match, each once. The session is locked
// from the subscription on, so that nothing newer comes before them.
func (s *Session) takeRetained(filters []string, q message.QoS) {
	for i, f := range filters {
		matched := func(name string) bool {
			return slices.ContainsFunc(filters[:i], func(f string) bool { return topic.Match(f, name) })
		}
		s.manager.note(s.manager.router.Retained(f, func(m *message.Message) bool {
			if !matched(m.Topic) && s.deliver(m, min(q, m.QoS)) != nil {
				s.drop(router.QueueFull, 1)
			}
			return true
		}))
	}
}

// unsubscribe removes a packet's filters.
func (l *Link) unsubscribe(p *wire.Packet) {
	s := l.session
	s.mu.Lock()
	live := s.link == l
	if live {
		s.unsubscribe(p.Filters)
	}
	s.mu.Unlock()
	if live {
		l.acknowledge(p.ID, wire.Error{})
	}
}

func (s *Session) unsubscribe(filters []string) {
	kept := slices.Clone(s.subscriptions)
	for _, f := range filters {
		if s.manager.router.Unsubscribe(f, s) {
			kept = slices.DeleteFunc(kept, named(f))
		}
	}
	s.subscriptions = kept
}
