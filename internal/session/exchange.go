package session

import (
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
)

// The methods of a Link by which an Exchanger tells what the device answered, MQTT 5 §4.3.
// An identifier that is not known is late, or of a session that the device thinks it had. What
// answers a message of another QoS, or comes before it is due, is an error, a *wire.Close,
// so that the message is not in flight for ever [MQTT-4.13.1-1] [3.1.1 MQTT-4.8.0-1].

var errAnswer = wire.CloseContract.Because("the acknowledgement is not the one that is due")

// Acked is for PUBACK: the device has the QoS 1 message. With an error code too, it is not
// sent again, MQTT 5 §4.4.
func (l *Link) Acked(id uint16) (err error) {
	l.exchange(func(s *Session, t *mqtt) (moved bool) {
		var m uint64
		m, err = t.sent.acked(id)
		return m != 0 && s.forgo(m)
	})
	return err
}

// Received is for PUBREC: the device has the QoS 2 message, or refused it. found tells
// whether it was sent one with this identifier: the answer is PUBREL, with 0x92 when it was
// not, and nothing to a refusal. MQTT 5 §4.3.3.
func (l *Link) Received(id uint16, refused bool) (found bool, err error) {
	l.exchange(func(s *Session, t *mqtt) (moved bool) {
		var m uint64
		if m, found, err = t.sent.received(id, refused); m == 0 {
			return refused
		}
		return s.forgo(m)
	})
	return found, err
}

// Completed is for PUBCOMP: the identifier is free.
func (l *Link) Completed(id uint16) (err error) {
	l.exchange(func(_ *Session, t *mqtt) (moved bool) {
		moved, err = t.sent.completed(id)
		return moved
	})
	return err
}

// Released is for PUBREL: the device will not send the QoS 2 publication again. found tells
// whether it was known: the answer is PUBCOMP, with 0x92 when it was not.
func (l *Link) Released(id uint16) (found bool) {
	l.exchange(func(_ *Session, t *mqtt) (moved bool) {
		_, found = t.received[id]
		delete(t.received, id)
		return false
	})
	return found
}

// exchange has f change what is under way, and sends what there is room for if it moved.
func (l *Link) exchange(f func(*Session, *mqtt) (moved bool)) {
	s := l.session
	var admitted []*router.Claim
	s.mu.Lock()
	if t := s.exchange(); s.link == l && t != nil && f(s, t) {
		s.acknowledged()
		admitted = s.flushAll(l.conn, nil)
		s.wakeToSearch()
	}
	s.mu.Unlock()
	s.manager.tell(admitted)
}

// forgo removes a message that the device has from what it is owed.
func (s *Session) forgo(id uint64) bool {
	if s.queue == nil || !s.queue.Ack(id) {
		return false
	}
	if o := s.manager.config.Observer; o != nil {
		o.Acknowledged(id, s.device)
	}
	return true
}

// acked frees the identifier of a QoS 1 message in flight and returns the message, or 0.
func (p *packets) acked(id uint16) (m uint64, err error) {
	switch i := p.find(id); {
	case i < 0:
		return 0, nil
	case p.list[i].qos != message.AtLeastOnce:
		return 0, errAnswer
	case p.list[i].state != inFlight:
		return 0, nil
	default:
		m = p.list[i].message
		p.remove(i)
		return m, nil
	}
}

// received moves a QoS 2 message in flight to released, or frees its identifier if it was
// refused, and returns the message: 0 when the device had said so before.
func (p *packets) received(id uint16, refused bool) (m uint64, found bool, err error) {
	i := p.find(id)
	switch {
	case i < 0:
		return 0, false, nil
	case p.list[i].qos != message.ExactlyOnce:
		return 0, false, errAnswer
	case p.list[i].state == lapsed:
		return 0, false, nil
	case p.list[i].state == inFlight:
		m = p.list[i].message
	}
	p.list[i].state, p.list[i].since = released, seconds(time.Now())
	if refused {
		p.remove(i)
	}
	return m, true, nil
}

// completed frees the identifier of a message that was released.
func (p *packets) completed(id uint16) (freed bool, err error) {
	switch i := p.find(id); {
	case i < 0:
		return false, nil
	case p.list[i].state == inFlight:
		return false, errAnswer
	case p.list[i].state != released:
		return false, nil
	default:
		p.remove(i)
		return true, nil
	}
}

// record is what a restart must not forget.
func (p *packets) record() (list []store.Packet) {
	for _, e := range p.list {
		done := e.state == released || e.state == unreleased
		list = append(list, store.Packet{Message: e.message, ID: e.id, QoS: e.qos, Released: done})
	}
	return list
}

func (p *packets) restore(r *store.Packets) {
	p.last = r.Last
	for _, e := range r.Sent {
		state := inFlight
		if e.Released {
			state = released
		}
		p.list = append(p.list, packet{message: e.Message, id: e.ID, qos: e.QoS, state: state})
	}
	p.rewind()
}
