package session

import (
	"errors"
	"fmt"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// Codes of refusals. They are part of the protocol with devices.
const (
	CodeNotAllowed           = "not_allowed"
	CodeQueueFull            = "queue_full"
	CodeTooLarge             = "too_large"
	CodeNotRetained          = "not_retained"
	CodeBadTopic             = "invalid_topic"
	CodeQuota                = "quota"
	CodeInternal             = "internal"
	CodeBadFilter            = "invalid_filter"
	CodeTooManyFilters       = "too_many_filters"
	CodeTooManySubscriptions = "too_many_subscriptions"
)

var (
	errAwaited     = errors.New("the publication waits for its answer on this connection")
	errAnswered    = errors.New("the publication was routed and answered before")
	errAnswerLater = errors.New("some receivers answer later")
	errRepeated    = fmt.Errorf("the publication was routed before: %w", errAnswerLater)
)

// publish gives a message of the device to the router and answers it.
func (l *Link) publish(p *wire.Packet) error {
	s := l.session
	m := &p.Message
	if m.QoS > message.AtMostOnce && l.waitsForLease(p) {
		return nil
	}
	if m.QoS > message.AtMostOnce && l.answers != nil && l.answers.untold { // it comes again
		return nil
	}
	if !l.conn.Acks() {
		m.Topic = rawUplink(s.device)
	} else if err := topic.ValidateName(m.Topic, s.manager.config.Topics); err != nil {
		return l.refuseTopic(p, err)
	}
	now := time.Now()
	m.Source, m.Time, m.Expiry = s.device, now.UnixMilli(), 0
	m.Origin = message.Origin{Via: message.ViaDevice}
	m.Trace = message.TraceOf(m.Properties)
	if p.Expiry > 0 {
		m.Expiry = now.Add(p.Expiry).UnixMilli()
	}
	err := l.route(m, p.ID, p.Again)
	if errors.Is(err, errAnswered) {
		err = nil // and it is answered again
	}
	switch {
	case errors.Is(err, ErrTakenOver), errors.Is(err, errAwaited), m.QoS == message.AtMostOnce:
	case errors.Is(err, wire.CloseReceiveMax):
		return err
	case errors.Is(err, errAnswerLater):
		l.await(p.ID, m.QoS)
	default:
		l.answer(p.ID, m.QoS, refusal(err))
	}
	return nil
}

// refuseTopic refuses a publication whose topic passes the node's limits. If the topic is ill-formed, the device broke
// the contract, and the error closes the connection.
func (l *Link) refuseTopic(p *wire.Packet, why error) error {
	if topic.ValidateName(p.Message.Topic, topic.Unbounded) != nil {
		return wire.CloseContract.Because("pub: " + why.Error())
	}
	l.countRefused(&p.Message, router.BadTopic)
	l.refuse(p.ID, p.Message.QoS, wire.Error{Code: CodeBadTopic, Reason: why.Error()})
	return nil
}

// RefuseTooLarge refuses a publication that the gateway skipped because it is too large.
func (l *Link) RefuseTooLarge(id uint64, q message.QoS) {
	l.countRefused(nil, router.TooLarge)
	l.refuse(id, q, wire.Error{Code: CodeTooLarge, Reason: "the message is larger than gateway.max_payload"})
}

// refuse sends a refusal behind the answers that still wait, if the QoS has answers.
func (l *Link) refuse(id uint64, q message.QoS, err wire.Error) {
	if q > message.AtMostOnce {
		l.answer(id, q, err)
	}
}

// rawUplink returns the topic of all messages that a device of a raw protocol sends.
func rawUplink(device string) string { return "device/" + device + "/up" }

// route publishes m, unless a newer connection is attached. A connection that attaches meanwhile waits for uplink, so
// that its publications come after m.
func (l *Link) route(m *message.Message, id uint64, again bool) error {
	s := l.session
	s.uplink.Lock()
	defer s.uplink.Unlock()
	if s.link != l {
		return ErrTakenOver
	}
	m.Debtor = message.DebtorOf(s.device, credentialOf(l.permissions))
	u := s.up() // before another goroutine may answer
	err := l.routeLive(m, id, again)
	u.count(m, err)
	return err
}

// routeLive is route for the live connection. The caller holds uplink.
func (l *Link) routeLive(m *message.Message, id uint64, again bool) error {
	s := l.session
	if err := mayPublish(l.permissions, s.device, m.Topic); err != nil {
		s.manager.router.Drop(m, s.device, router.NotAllowed, 1)
		return err
	}
	if o := s.manager.config.Owners; o != nil && m.QoS > message.AtMostOnce && !o.Held() { // it was valid until now
		return ErrNotHeld
	}
	switch m.QoS {
	case message.AtMostOnce:
		_, err := s.manager.router.Publish(m, nil)
		return err
	case message.ExactlyOnce:
		return l.routeOnce(m, id, again)
	}
	if again {
		if err := s.repeat(l, m.QoS, uint16(id)); err != nil {
			return err
		}
	}
	return l.routeAcknowledged(m, id)
}

// routeOnce routes a QoS 2 publication unless it was routed before.
func (l *Link) routeOnce(m *message.Message, id uint64, again bool) error {
	if err := l.session.repeat(l, m.QoS, uint16(id)); err != nil {
		return err
	}
	p := &publication{session: l.session, link: l, place: l.place(), id: uint16(id), qos: m.QoS}
	switch known, err := l.session.receive(p); {
	case err != nil:
		return err
	case known:
		return errAnswered
	}
	if p.asks(again) {
		p.ask(m)
		return errAnswerLater
	}
	return p.route(m)
}

// routeAcknowledged routes a QoS 1 publication, whose answer may come later.
func (l *Link) routeAcknowledged(m *message.Message, id uint64) error {
	s := l.session
	if s.mqtt == nil { // the common case: nothing has to be remembered; uplink is held
		place := l.place()
		result, err := s.manager.router.Publish(m, func(err error) {
			s.answeredLater(err)
			l.tell(place, err)
		})
		if result.Later {
			return errAnswerLater
		}
		return err
	}
	p := &publication{session: s, link: l, place: l.place(), id: uint16(id), qos: m.QoS}
	return p.route(m)
}

// route gives the publication, whose message is m, to the router, and notes the answer if that does not come later.
func (p *publication) route(m *message.Message) error {
	later, err := p.give(m)
	if later {
		return errAnswerLater
	}
	p.session.conclude(p, err, false)
	return err
}

// give is route without the answer. The caller holds uplink.
func (p *publication) give(m *message.Message) (later bool, err error) {
	s := p.session
	p.noDeadline = s.reserve()
	by := router.Publisher{Done: p.settle, NoDeadline: p.noDeadline}
	if p.qos == message.ExactlyOnce {
		by.Note = p.note
	}
	result, err := s.manager.router.PublishFor(m, by)
	if result.Later {
		s.delay(p)
	}
	return result.Later, err
}

// tell gives the answer to a publication that waited to the connection's loop. Safe from any goroutine.
func (l *Link) tell(place uint32, err error) {
	l.conn.Loop().settle(settlement{link: l, place: place, err: err})
}

// refusal returns what the device is told about err.
func refusal(err error) wire.Error {
	switch {
	case err == nil:
		return wire.Error{}
	case errors.Is(err, errReserved), errors.Is(err, errNotAllowed):
		return wire.Error{Code: CodeNotAllowed, Reason: err.Error()}
	case errors.Is(err, store.ErrFull): // it was not retained, and nobody received it
		return wire.Error{Code: CodeNotRetained, Reason: err.Error()}
	case errors.Is(err, router.ErrQuota):
		return wire.Error{Code: CodeQuota, Reason: err.Error()}
	case errors.Is(err, router.ErrTooLate):
		return wire.Error{Code: CodeQueueFull, Reason: err.Error()}
	case errors.Is(err, store.ErrTooLarge):
		return wire.Error{Code: CodeTooLarge, Reason: err.Error()}
	case errors.Is(err, ErrNotHeld):
		return wire.Error{Code: CodeInternal, Reason: ErrNotHeld.Error()}
	case errors.Is(err, router.ErrStore):
		return wire.Error{Code: CodeInternal, Reason: router.ErrStore.Error()}
	}
	return wire.Error{Code: CodeInternal, Reason: "the gateway cannot take the message now"} // err may name files; the store has logged it
}
