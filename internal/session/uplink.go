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
	codeNotAllowed           = "not_allowed"
	codeQueueFull            = "queue_full"
	codeTooLarge             = "too_large"
	codeInternal             = "internal"
	codeBadFilter            = "invalid_filter"
	codeTooManyFilters       = "too_many_filters"
	codeTooManySubscriptions = "too_many_subscriptions"
)

var (
	errReserved = errors.New("topics that start with $ are the gateway's own")
	errLate     = errors.New("a newer connection of the device is there")
)

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
	case errors.Is(err, router.ErrFull):
		l.await(p.ID)
	default:
		l.answer(p.ID, refusal(err))
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
	if m.Topic[0] == '$' {
		s.drop(router.NotAllowed, 1)
		return errReserved
	}
	if m.QoS == message.AtMostOnce {
		_, err := s.manager.router.Publish(m, nil)
		return err
	}
	_, err := s.manager.router.Publish(m, func(err error) {
		l.conn.Do(func() { l.settle(id, refusal(err)) })
	})
	return err
}

// refusal is what the device is told about err.
func refusal(err error) wire.Error {
	switch {
	case err == nil:
		return wire.Error{}
	case errors.Is(err, errReserved):
		return wire.Error{Code: codeNotAllowed, Reason: err.Error()}
	case errors.Is(err, router.ErrTooLate), errors.Is(err, store.ErrFull):
		return wire.Error{Code: codeQueueFull, Reason: err.Error()}
	case errors.Is(err, store.ErrTooLarge):
		return wire.Error{Code: codeTooLarge, Reason: err.Error()}
	}
	return wire.Error{Code: codeInternal, Reason: err.Error()}
}
