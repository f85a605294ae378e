package session

import (
	"fmt"
	"slices"
	"strings"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// subscribe adds a packet's filters, all or none, and what is retained for them. The answer
// leaves before any message does: those wait for the next flush.
func (l *Link) subscribe(p *wire.Packet) {
	s := l.session
	subs := make([]topic.Subscription, len(p.Filters))
	for i, f := range p.Filters {
		subs[i] = topic.Subscription{Filter: strings.Clone(f), QoS: p.QoS, Conflate: p.Conflate}
	}
	refused := l.checkAll(subs)
	s.mu.Lock()
	live := s.link == l
	if live && refused.Code == "" {
		if refused = s.subscribe(subs); refused.Code == "" {
			s.takeRetainedOnce(subs)
		}
	}
	s.mu.Unlock()
	if live {
		l.acknowledge(wire.Sub, 0, p.ID, refused)
	}
}

// SubscribeEach adds subscriptions as a SUBSCRIBE does: each has an answer of its own, in
// results, which is as long as subs and empty where one is granted; and each takes what is
// retained, as its RetainHandling says, as if it were alone [MQTT-3.8.4-5]. The filters are
// borrowed. Messages wait for the next flush, so that SUBACK leaves first.
func (l *Link) SubscribeEach(subs []topic.Subscription, results []wire.Error) {
	s := l.session
	for i := range subs {
		results[i] = l.check(i, subs[i].Filter)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return
	}
	for i, sub := range subs {
		if results[i].Code != "" {
			continue
		}
		sub.Filter = strings.Clone(sub.Filter)
		isNew := s.subscription(sub.Filter) < 0
		if results[i] = s.subscribe([]topic.Subscription{sub}); results[i].Code == "" && sends(&sub, isNew) {
			s.takeRetained(&sub, nil)
		}
	}
}

// sends tells whether a subscription wants what is retained [MQTT-3.3.1-9] to [MQTT-3.3.1-11].
func sends(sub *topic.Subscription, isNew bool) bool {
	return sub.RetainHandling == topic.RetainAlways || sub.RetainHandling == topic.RetainNew && isNew
}

// checkAll refuses what the device may not subscribe to, for all if for one.
func (l *Link) checkAll(subs []topic.Subscription) wire.Error {
	for i := range subs {
		if refused := l.check(min(len(subs)-1, l.session.manager.config.MaxFilters), subs[i].Filter); refused.Code != "" {
			return refused
		}
	}
	return wire.Error{}
}

// check refuses the i-th filter of a packet if the device may not subscribe to it.
func (l *Link) check(i int, filter string) wire.Error {
	c := &l.session.manager.config
	if i >= c.MaxFilters {
		return wire.Error{Code: CodeTooManyFilters, Reason: fmt.Sprintf("a packet may have %d filters", c.MaxFilters)}
	}
	if err := topic.ValidateFilter(filter, c.Topics); err != nil {
		return wire.Error{Code: CodeBadFilter, Reason: err.Error()}
	}
	if _, _, _, err := topic.Shared(filter); err != nil { // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
		return wire.Error{Code: CodeBadFilter, Reason: err.Error()}
	}
	if l.permissions != nil && !l.permissions.MaySubscribe(l.session.device, filter) {
		return wire.Error{Code: CodeNotAllowed, Reason: errNotAllowed.Error()}
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
	if refused := s.subscribe([]topic.Subscription{{Filter: filter, QoS: q}}); refused.Code != "" {
		return refused
	}
	return nil
}

// subscribe records subscriptions, all or none, and tells the router, which never calls back
// from there. Locked, so that a takeover cannot come in between.
func (s *Session) subscribe(subs []topic.Subscription) (refused wire.Error) {
	most := s.manager.config.MaxSubscriptions
	all := slices.Clone(s.subscriptions)
	for _, sub := range subs {
		at := slices.IndexFunc(all, named(sub.Filter))
		switch {
		case at >= 0:
			all[at] = sub // [MQTT-3.8.4-3]
		case len(all) >= most:
			return wire.Error{Code: CodeTooManySubscriptions, Reason: fmt.Sprintf("a device may have %d subscriptions", most)}
		default:
			all = append(all, sub)
		}
	}
	s.subscriptions, s.special = all, anySpecial(all)
	for _, sub := range subs {
		s.manager.router.Subscribe(sub.Filter, s, sub.QoS)
	}
	return wire.Error{}
}

func named(filter string) func(topic.Subscription) bool {
	return func(sub topic.Subscription) bool { return sub.Filter == filter }
}

// subscription returns the place of a filter among the session's, or -1.
func (s *Session) subscription(filter string) int {
	return slices.IndexFunc(s.subscriptions, named(filter))
}

// unsubscribe removes a packet's filters.
func (l *Link) unsubscribe(p *wire.Packet) {
	s := l.session
	s.mu.Lock()
	live := s.link == l
	if live {
		s.unsubscribe(p.Filters, nil)
	}
	s.mu.Unlock()
	if live {
		l.acknowledge(wire.Unsub, 0, p.ID, wire.Error{})
	}
}

// UnsubscribeEach removes filters as an UNSUBSCRIBE does. existed, which is as long as
// filters, tells which there were; the answer for the others is 0x11 [MQTT-3.11.3-1].
func (l *Link) UnsubscribeEach(filters []string, existed []bool) {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == l {
		s.unsubscribe(filters, existed)
	}
}

// Permit ends the subscriptions that the link's permissions do not allow, after those have
// changed. What is queued by them stays owed.
func (l *Link) Permit() {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == l {
		s.permit(l.permissions)
	}
}

// permit ends the subscriptions that p does not allow. Locked.
func (s *Session) permit(p Permissions) {
	if p == nil {
		return
	}
	var refused []string
	for _, sub := range s.subscriptions {
		if !p.MaySubscribe(s.device, sub.Filter) {
			refused = append(refused, sub.Filter)
		}
	}
	if refused != nil {
		s.unsubscribe(refused, nil)
	}
}

// unsubscribe removes filters and tells, if existed is not nil, which there were.
func (s *Session) unsubscribe(filters []string, existed []bool) {
	kept := slices.Clone(s.subscriptions)
	for i, f := range filters {
		there := s.manager.router.Unsubscribe(f, s)
		if there {
			kept = slices.DeleteFunc(kept, named(f))
		}
		if existed != nil {
			existed[i] = there
		}
	}
	s.subscriptions, s.special = kept, anySpecial(kept)
	s.forgetRetained(filters)
}
