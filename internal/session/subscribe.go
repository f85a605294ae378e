package session

import (
	"errors"
	"slices"
	"strings"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// subscribe adds all filters of a packet or none, and the retained messages that match them. It sends the answer
// before any of these messages, which the next flush sends.
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
			s.takeRetained(subs, true)
			s.reconsiderCommands()
		}
	}
	s.mu.Unlock()
	switch id := p.ID; {
	case !live:
	case refused.Code != "":
		l.acknowledge(wire.Sub, 0, id, refused)
	default:
		l.WhenSubscribed(func() { l.acknowledge(wire.Sub, 0, id, wire.Error{}) })
	}
}

// SubscribeEach adds subscriptions as a SUBSCRIBE does. Each gets its own answer in results, which is as long as subs;
// a granted one gets the zero value. Each gets the retained messages that its RetainHandling asks for, as if it were
// alone [MQTT-3.8.4-5]. The filters are borrowed. The caller writes SUBACK by WhenSubscribed; the next flush sends the
// messages, so that SUBACK is first.
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
	c := s.change(len(subs))
	var granted, sending []topic.Subscription
	for i, sub := range subs {
		if results[i].Code != "" {
			continue
		}
		sub.Filter = strings.Clone(sub.Filter)
		isNew := c.find(sub.Filter) < 0
		if results[i] = c.put(sub); results[i].Code != "" {
			continue
		}
		granted = append(granted, sub)
		if sends(&sub, isNew) {
			sending = append(sending, sub)
		}
	}
	c.commit(granted)
	s.takeRetained(sending, false)
	s.reconsiderCommands()
}

// sends reports whether the gateway sends retained messages for a subscription [MQTT-3.3.1-9] to [MQTT-3.3.1-11].
func sends(sub *topic.Subscription, isNew bool) bool {
	return sub.RetainHandling == topic.RetainAlways || sub.RetainHandling == topic.RetainNew && isNew
}

// checkAll returns why the device may not make one of the subscriptions; the zero value if it may make all.
func (l *Link) checkAll(subs []topic.Subscription) wire.Error {
	for i := range subs {
		if refused := l.check(min(len(subs)-1, l.session.manager.config.MaxFilters), subs[i].Filter); refused.Code != "" {
			return refused
		}
	}
	return wire.Error{}
}

// check returns why the device may not subscribe to the i-th filter of a packet.
func (l *Link) check(i int, filter string) wire.Error {
	c := &l.session.manager.config
	if i >= c.MaxFilters {
		return l.session.manager.tooManyFilters
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

// Subscribe adds a subscription in the name of the device, without retained messages. The filter must be valid; the
// session keeps it.
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

// subscribe adds all subscriptions or none. The session is locked, so that no takeover comes in between.
func (s *Session) subscribe(subs []topic.Subscription) (refused wire.Error) {
	c := s.change(len(subs))
	for _, sub := range subs {
		if refused = c.put(sub); refused.Code != "" {
			return refused
		}
	}
	c.commit(subs)
	return wire.Error{}
}

// change is a copy of the subscriptions with the changes of one packet.
type change struct {
	session *Session
	subs    []topic.Subscription
	at      map[string]int // index of each filter if the packet has many; otherwise nil
	failing error          // why the store cannot keep the change
}

// fewFilters is how many filters of one packet find searches for one by one.
const fewFilters = 4

// change begins a change by so many filters. The session stays locked until commit.
func (s *Session) change(filters int) *change {
	c := &change{session: s, subs: slices.Clone(s.subscriptions)}
	if err := s.manager.store.Err(); s.durable() && !errors.Is(err, store.ErrNoRoom) {
		c.failing = err
	}
	if filters > fewFilters {
		c.at = make(map[string]int, len(c.subs)+min(filters, s.manager.config.MaxSubscriptions))
		for i := range c.subs {
			c.at[c.subs[i].Filter] = i
		}
	}
	return c
}

// find returns the index of a filter, or -1.
func (c *change) find(filter string) int {
	if c.at == nil {
		return slices.IndexFunc(c.subs, func(sub topic.Subscription) bool { return sub.Filter == filter })
	}
	if i, ok := c.at[filter]; ok {
		return i
	}
	return -1
}

// put adds a subscription, or replaces the one with the same filter [MQTT-3.8.4-3]. A store that fails gets none, because it keeps
// each change in memory until it is well, and a device could make any number.
func (c *change) put(sub topic.Subscription) wire.Error {
	i := c.find(sub.Filter)
	switch {
	case i >= 0 && c.subs[i] == sub:
		return wire.Error{}
	case c.failing != nil:
		return wire.Error{Code: CodeInternal, Reason: "the node cannot store the subscription: " + c.failing.Error()}
	case i >= 0:
		c.subs[i] = sub
		return wire.Error{}
	}
	if m := c.session.manager; len(c.subs) >= m.config.MaxSubscriptions {
		return m.tooManySubscriptions
	}
	if c.at != nil {
		c.at[sub.Filter] = len(c.subs)
	}
	c.subs = append(c.subs, sub)
	return wire.Error{}
}

// commit makes the change, saves the session, and gives the subscriptions in granted to the router, which never calls
// back from there.
func (c *change) commit(granted []topic.Subscription) {
	s := c.session
	same := slices.Equal(s.subscriptions, c.subs)
	if s.subscriptions, s.special = c.subs, anySpecial(c.subs); !same {
		s.save()
	}
	for _, sub := range granted {
		s.manager.router.Subscribe(sub.Filter, s, sub.QoS)
	}
}

// unsubscribe removes the filters of a packet.
func (l *Link) unsubscribe(p *wire.Packet) {
	s := l.session
	s.mu.Lock()
	live := s.link == l
	if live {
		s.unsubscribe(p.Filters, nil)
	}
	s.mu.Unlock()
	if id := p.ID; live {
		l.WhenSafe(func() { l.acknowledge(wire.Unsub, 0, id, wire.Error{}) })
	}
}

// UnsubscribeEach removes filters as an UNSUBSCRIBE does, and sets in existed, which is as long as filters, which of
// them the session had. The answer for the others is 0x11 [MQTT-3.11.3-1]. The caller writes UNSUBACK by WhenSafe.
func (l *Link) UnsubscribeEach(filters []string, existed []bool) {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == l {
		s.unsubscribe(filters, existed)
	}
}

// Permit ends the subscriptions that the link's permissions no longer allow. Messages that are queued already stay in
// the queue.
func (l *Link) Permit() {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == l {
		s.permit(l.permissions)
	}
}

// permit ends the subscriptions that p does not allow. The session is locked.
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

// unsubscribe removes filters and, if existed is not nil, sets which of them the session had. A filter that the
// session does not have costs little, because a packet may name many. The session is locked.
func (s *Session) unsubscribe(filters []string, existed []bool) {
	c, gone := s.change(len(filters)), make(map[string]bool)
	for i, f := range filters {
		there := c.find(f) >= 0 && !gone[f]
		if there {
			gone[f] = s.manager.router.Unsubscribe(f, s)
		}
		if existed != nil {
			existed[i] = there
		}
	}
	s.subscriptions = slices.DeleteFunc(c.subs, func(sub topic.Subscription) bool { return gone[sub.Filter] })
	s.special = anySpecial(s.subscriptions)
	if len(gone) > 0 {
		s.save()
	}
	s.forgetRetained(gone)
}
