package session

import (
	"errors"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// Codes of refusals, part of the contract with devices.
const (
	codeNotAllowed = "not_allowed"
	codeQueueFull  = "queue_full"
	codeInternal   = "internal"
	codeTooMany    = "too_many_subscriptions"
	codeBadFilter  = "invalid_filter"
)

// publish gives a message of the device to the router and answers it.
func (l *Link) publish(p *wire.Packet) error {
	s := l.session
	m := &p.Message
	if !l.conn.Acks() {
		m.Topic = s.manager.rawUplink(s.device)
	} else if err := topic.ValidateName(m.Topic, s.manager.config.Topics); err != nil {
		return wire.CloseContract.Because("pub: " + err.Error())
	}
	s.mu.Lock()
	if s.link != l {
		s.mu.Unlock()
		return nil
	}
	s.traffic.UplinkMessages++
	s.traffic.UplinkBytes += uint64(len(m.Payload))
	s.mu.Unlock()

	now := time.Now()
	m.Source, m.Time, m.Expiry = s.device, now.UnixMilli(), 0
	if p.Expiry > 0 {
		m.Expiry = now.Add(p.Expiry).UnixMilli()
	}
	if m.Topic[0] == '$' { // the gateway's own
		if m.QoS == message.AtMostOnce {
			s.drop(router.NotAllowed, 1)
			return nil
		}
		l.answer(p.ID, wire.Error{Code: codeNotAllowed, Reason: "topics that start with $ are the gateway's own"})
		return nil
	}
	if m.QoS == message.AtMostOnce {
		_, _ = s.manager.router.Publish(m, nil)
		return nil
	}
	l.publishAcknowledged(m, p.ID)
	return nil
}

// publishAcknowledged answers once every receiver has the message, or one refused it.
func (l *Link) publishAcknowledged(m *message.Message, id uint64) {
	_, err := l.session.manager.router.Publish(m, func(err error) {
		l.conn.Do(func() { l.settle(id, refusal(err)) })
	})
	if errors.Is(err, router.ErrFull) {
		l.await(id)
		return
	}
	l.answer(id, refusal(err))
}

// refusal is what the device is told about err.
func refusal(err error) wire.Error {
	switch {
	case err == nil:
		return wire.Error{}
	case errors.Is(err, router.ErrTooLate):
		return wire.Error{Code: codeQueueFull, Reason: err.Error()}
	}
	return wire.Error{Code: codeInternal, Reason: err.Error()}
}

// answers is the line of publications that wait for their answer, so that answers leave in
// the order of the publications. It has a bound: beyond it the device is not read.
type answers struct{ line []answer }

type answer struct {
	id    uint64
	ready bool
	err   wire.Error
}

// answer sends the answer to a publication, behind those that still wait.
func (l *Link) answer(id uint64, err wire.Error) {
	if id == 0 {
		return // a protocol without acknowledgements
	}
	if l.answers == nil {
		l.conn.Answer(&wire.Packet{Op: wire.Ack, ID: id, Err: err})
		return
	}
	l.answers.line = append(l.answers.line, answer{id, true, err})
	l.throttle()
}

// await keeps a publication's place in the line.
func (l *Link) await(id uint64) {
	if l.answers == nil {
		l.answers = new(answers)
	}
	l.answers.line = append(l.answers.line, answer{id: id})
	l.throttle()
}

// settle gives a waiting publication its answer and sends what is ready in order.
func (l *Link) settle(id uint64, err wire.Error) {
	if l.answers == nil {
		return
	}
	line := l.answers.line
	for i := range line {
		if a := &line[i]; a.id == id && !a.ready {
			a.ready, a.err = true, err
			break
		}
	}
	n := 0
	for ; n < len(line) && line[n].ready; n++ {
		if line[n].id != 0 {
			l.conn.Answer(&wire.Packet{Op: wire.Ack, ID: line[n].id, Err: line[n].err})
		}
	}
	l.answers.line = line[n:]
	if n == len(line) {
		l.answers = nil
	}
	l.throttle()
}

// throttle slows a publisher down whose answers wait: TCP does the rest.
func (l *Link) throttle() {
	l.conn.SetReading(l.answers == nil || len(l.answers.line) < l.session.manager.config.Unanswered)
}
