package session

import (
	"errors"
	"slices"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
)

// DeliverTo delivers a message that another node sends on to one device, with the QoS that this node had found: as router.Subscriber.Deliver,
// or with ErrNotHere; router.ErrGone if it came by a share that the session has left. A shadow passes it on. While a claim of the device is
// under way the message waits for that, and its claim is told later.
func (m *Manager) DeliverTo(device string, msg *message.Message, q message.QoS, p *router.Publication) error {
	return m.deliverTo(device, p, parcel{message: msg, qos: q})
}

// DeliverOwn is DeliverTo for a message that is published in the own space of the device: the session takes it if a subscription of its matches, with
// at most the QoS q.
func (m *Manager) DeliverOwn(device string, msg *message.Message, q message.QoS, p *router.Publication) error {
	return m.deliverTo(device, p, parcel{message: msg, qos: q, own: true})
}

// parcel is a message for one device.
type parcel struct {
	message *message.Message
	qos     message.QoS
	own     bool          // it came by DeliverOwn
	claim   *router.Claim // while it waits for a claim of the device; may be nil
}

func (m *Manager) deliverTo(device string, p *router.Publication, x parcel) error {
	m.mu.Lock()
	s := m.find(device)
	if s == nil && m.attempts.park(device, p, x) {
		m.mu.Unlock()
		return nil
	}
	m.mu.Unlock()
	if s == nil {
		if s = m.shadows.newest(device); s == nil {
			return ErrNotHere
		}
	}
	return s.takeParcel(x, p)
}

// takeParcel takes a message for the device, or passes it on.
func (s *Session) takeParcel(x parcel, p *router.Publication) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, share := x.message, router.ShareOf(x.message)
	switch {
	case x.own:
		return s.takeOwn(m, x.qos, p)
	case s.has(m):
		return nil
	case s.isShadow():
		return s.passOn(m, x.qos, p)
	case s.ended:
		return ErrNotHere
	case share != "" && !s.isMember(share):
		return router.ErrGone
	}
	return s.accept(m, x.qos, router.Terms{Wait: true}, false, p)
}

// takeOwn takes a message in the device's own space, if a subscription matches. The session is locked.
func (s *Session) takeOwn(m *message.Message, q message.QoS, p *router.Publication) error {
	granted, matches := message.AtMostOnce, false
	for i := range s.subscriptions {
		if sub := &s.subscriptions[i]; !topic.IsShared(sub.Filter) && topic.Match(sub.Filter, m.Topic) {
			granted, matches = max(granted, sub.QoS), true
		}
	}
	if !matches {
		return nil
	}
	if q = min(q, granted); q == message.AtMostOnce {
		p = nil
	}
	return s.offer(m, q, router.Terms{Wait: true}, p)
}

// isMember reports whether the session has a shared subscription. The session is locked.
func (s *Session) isMember(share string) bool {
	return slices.ContainsFunc(s.subscriptions, func(sub topic.Subscription) bool { return sub.Filter == share })
}

// parkedMessages bounds the messages for one device that wait for a claim of it.
const parkedMessages = 256

// park keeps a message while a claim of its device is under way, and reports whether it did.
func (a *attempts) park(device string, p *router.Publication, x parcel) bool {
	waits := a.byDevice[device]
	if waits == nil || !waits.claiming || len(waits.parked) >= parkedMessages {
		return false
	}
	if p != nil {
		x.claim = p.Claim()
	}
	waits.parked = append(waits.parked, x)
	return true
}

// unpark delivers the messages that have waited for a claim, or sends them on if it has failed. Without locks.
func (m *Manager) unpark(device string, failed bool) {
	m.mu.Lock()
	x := m.attempts.byDevice[device]
	parked := x.parked
	x.parked = nil
	s := m.find(device)
	m.mu.Unlock()
	for _, x := range parked {
		switch {
		case failed:
			m.config.Owners.Forward(device, "", x.message, x.qos, x.claim)
		case s == nil: // there was no session: nothing is for one that begins later
			x.tell(nil)
		default:
			m.router.DeliverNear(router.Hit{Subscriber: &unparked{s, x}, QoS: x.qos}, x.message, x.tell)
		}
	}
}

func (x *parcel) tell(err error) {
	if x.claim != nil {
		x.claim.Done(err)
	}
}

// unparked is a router.Subscriber: the session for which a message has waited.
type unparked struct {
	*Session
	parcel parcel
}

func (u *unparked) Deliver(_ *message.Message, _ message.QoS, p *router.Publication) error {
	if err := u.takeParcel(u.parcel, p); !errors.Is(err, ErrNotHere) {
		return err
	}
	return nil
}
