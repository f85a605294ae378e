package session

import (
	"errors"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// Codes of refusals, part of the contract with devices.
const (
	CodeNotAllowed           = "not_allowed"
	CodeQueueFull            = "queue_full"
	CodeTooLarge             = "too_large"
	CodeInternal             = "internal"
	CodeBadFilter            = "invalid_filter"
	CodeTooManyFilters       = "too_many_filters"
	CodeTooManySubscriptions = "too_many_subscriptions"
)

var errLate = errors.New("a newer connection of the device is there")

// publish gives a message of the device to the router and answers it.
func (l *Link) publish(p *wire.Packet) error {
	s := l.session
	m := &p.Message
	if !l.conn.Acks() {
		m.Topic = rawUplink(s.device)
	} else if err := topic.ValidateName(m.Topic, s.manager.config.Topics); err != nil {
		return wire.CloseContract.Because("pub: " + err.Error())
	}
	now := time.Now()
	m.Source, m.Time, m.Expiry = s.device, now.UnixMilli(), 0
	if p.Expiry > 0 {
		m.Expiry = now.Add(p.Expiry).UnixMilli()
	}
	err := l.route(m, p.ID)
	switch {
	case errors.Is(err, errLate), m.QoS == message.AtMostOnce:
	case errors.Is(err, wire.CloseReceiveMax):
		return err
	case errors.Is(err, router.ErrFull):
		l.await(p.ID, m.QoS)
	default:
		l.answer(p.ID, m.QoS, refusal(err))
	}
	return nil
}

// rawUplink is the topic of what a device of a raw protocol sends.
func rawUplink(device string) string { return "device/" + device + "/up" }

// route publishes m, unless a newer connection is attached. One that attaches meanwhile has
// to wait, so that what it publishes comes after m.
func (l *Link) route(m *message.Message, id uint64) error {
	s := l.session
	s.uplink.Lock()
	defer s.uplink.Unlock()
	if s.link != l {
		return errLate
	}
	s.traffic.UplinkMessages++
	s.traffic.UplinkBytes += uint64(len(m.Payload))
	if err := mayPublish(l.permissions, m.Topic); err != nil {
		s.drop(router.NotAllowed, 1)
		return err
	}
	switch m.QoS {
	case message.AtMostOnce:
		_, err := s.manager.router.Publish(m, nil)
		return err
	case message.ExactlyOnce:
		return l.routeOnce(m, id)
	}
	return l.routeAnswered(m, id)
}

// routeOnce routes a QoS 2 publication unless it was routed before.
func (l *Link) routeOnce(m *message.Message, id uint64) error {
	switch r, err := l.session.receive(uint16(id)); {
	case err != nil:
		return err
	case r == waits:
		return router.ErrFull
	case r == answered:
		return nil
	}
	return l.routeAnswered(m, id)
}

// routeAnswered routes a publication whose answer may come later.
func (l *Link) routeAnswered(m *message.Message, id uint64) (err error) {
	s, q, patient := l.session, m.QoS, l.session.reserve()
	done := l.later(q, id, patient)
	if patient {
		_, err = s.manager.router.PublishPatiently(m, done)
	} else {
		_, err = s.manager.router.Publish(m, done)
	}
	if !errors.Is(err, router.ErrFull) {
		s.conclude(q, id, patient, err)
	}
	return err
}

// later is what the router calls when a publication that waited was taken or refused.
func (l *Link) later(q message.QoS, id uint64, patient bool) func(error) {
	if q == message.AtLeastOnce && !patient { // the common one remembers as little as it may
		return func(err error) { l.tell(message.AtLeastOnce, id, err) }
	}
	return func(err error) { l.session.settle(l, q, id, patient, err) }
}

// tell has the loop answer a publication that waited. Safe from any goroutine.
func (l *Link) tell(q message.QoS, id uint64, err error) {
	l.conn.Do(func() { l.settle(id, q, refusal(err)) })
}

// settle has the answer to a publication that waited sent: to the connection that made it or,
// with QoS 2, to that of the day. The answer to an older one's of QoS 1 could be taken for
// that to a newer one's with the same id.
func (s *Session) settle(l *Link, q message.QoS, id uint64, patient bool, err error) {
	if live := s.conclude(q, id, patient, err); q == message.ExactlyOnce {
		l = live
	}
	if l != nil {
		l.tell(q, id, err)
	}
}

// refusal is what the device is told about err.
func refusal(err error) wire.Error {
	switch {
	case err == nil:
		return wire.Error{}
	case errors.Is(err, errReserved), errors.Is(err, errNotAllowed):
		return wire.Error{Code: CodeNotAllowed, Reason: err.Error()}
	case errors.Is(err, router.ErrTooLate), errors.Is(err, store.ErrFull):
		return wire.Error{Code: CodeQueueFull, Reason: err.Error()}
	case errors.Is(err, store.ErrTooLarge):
		return wire.Error{Code: CodeTooLarge, Reason: err.Error()}
	}
	return wire.Error{Code: CodeInternal, Reason: err.Error()}
}
