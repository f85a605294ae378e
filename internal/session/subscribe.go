package session

import (
	"fmt"
	"slices"
	"strings"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// subscribe adds a packet's filters, all or none, then sends the retained messages.
func (l *Link) subscribe(p *wire.Packet) error {
	s := l.session
	for _, f := range p.Filters {
		if err := topic.ValidateFilter(f, s.manager.config.Topics); err != nil {
			l.conn.Answer(&wire.Packet{Op: wire.Ack, ID: p.ID, Err: wire.Error{Code: codeBadFilter, Reason: err.Error()}})
			return nil
		}
	}
	filters := make([]string, len(p.Filters))
	for i, f := range p.Filters {
		filters[i] = strings.Clone(f)
	}
	var refused wire.Error
	if err := l.add(filters, p.QoS); err != nil {
		refused = wire.Error{Code: codeTooMany, Reason: err.Error()}
	}
	l.conn.Answer(&wire.Packet{Op: wire.Ack, ID: p.ID, Err: refused})
	if refused.Code == "" {
		l.sendRetained(filters, p.QoS)
	}
	return nil
}

// Subscribe adds a subscription on the device's behalf. The filter must be valid.
func (l *Link) Subscribe(filter string, q message.QoS) error { return l.add([]string{filter}, q) }

// add records subscriptions and tells the router. The session stays locked meanwhile, so
// that a takeover cannot come in between; the router never calls back from Subscribe.
func (l *Link) add(filters []string, q message.QoS) error {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return nil
	}
	subscriptions := slices.Clone(s.subscriptions) // the store may hold the old slice
	for _, f := range filters {
		at := slices.IndexFunc(subscriptions, func(x store.Subscription) bool { return x.Filter == f })
		if at >= 0 {
			subscriptions[at].QoS = q
			continue
		}
		if len(subscriptions) >= s.manager.config.MaxSubscriptions {
			return fmt.Errorf("a device may have %d subscriptions", s.manager.config.MaxSubscriptions)
		}
		subscriptions = append(subscriptions, store.Subscription{Filter: f, QoS: q})
	}
	s.subscriptions = slices.Clip(subscriptions)
	for _, f := range filters {
		s.manager.router.Subscribe(f, s, q)
	}
	return nil
}

// sendRetained queues the retained messages that match.
func (l *Link) sendRetained(filters []string, q message.QoS) {
	s := l.session
	for _, f := range filters {
		_ = s.manager.router.Retained(f, func(m *message.Message) bool {
			if s.Deliver(m, min(q, m.QoS)) != nil {
				s.drop(router.QueueFull, 1)
			}
			return true
		})
	}
}

// unsubscribe removes a packet's filters.
func (l *Link) unsubscribe(p *wire.Packet) error {
	s := l.session
	s.mu.Lock()
	if s.link == l {
		subscriptions := slices.Clone(s.subscriptions)
		for _, f := range p.Filters {
			subscriptions = slices.DeleteFunc(subscriptions, func(x store.Subscription) bool { return x.Filter == f })
			s.manager.router.Unsubscribe(f, s)
		}
		s.subscriptions = slices.Clip(subscriptions)
	}
	s.mu.Unlock()
	l.conn.Answer(&wire.Packet{Op: wire.Ack, ID: p.ID})
	return nil
}
