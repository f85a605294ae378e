package session

import (
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
)

// The methods of a Link by which an Exchanger tells what the device answered, MQTT 5 §4.3.
// An identifier that is not known is late, or of a session that the device thinks it had.

// Acked is for PUBACK: the device has the QoS 1 message. With an error code too, it is not
// sent again, MQTT 5 §4.4.
func (l *Link) Acked(id uint16) {
	l.exchange(func(s *Session, t *mqtt) (moved bool) {
		m, ok := t.sent.acked(id)
		return ok && s.take(m)
	})
}

// Received is for PUBREC: the device has the QoS 2 message, or refused it. found tells
// whether it was sent one with this identifier: the answer is PUBREL, with 0x92 when it was
// not, and nothing to a refusal. MQTT 5 §4.3.3.
func (l *Link) Received(id uint16, refused bool) (found bool) {
	l.exchange(func(s *Session, t *mqtt) (moved bool) {
		var m uint64
		if m, found = t.sent.received(id, refused); m == 0 {
			return refused
		}
		return s.take(m)
	})
	return found
}

// Completed is for PUBCOMP: the identifier is free.
func (l *Link) Completed(id uint16) {
	l.exchange(func(_ *Session, t *mqtt) (moved bool) { return t.sent.completed(id) })
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
	var admitted []*router.Ticket
	s.mu.Lock()
	if t := s.exchange(); s.link == l && t != nil && f(s, t) {
		admitted = s.flushAll(l.conn)
	}
	s.mu.Unlock()
	router.Tell(admitted, nil)
}

// take removes a message that the device has from what it is owed.
func (s *Session) take(id uint64) bool { return s.queue != nil && s.queue.Ack(id) }

// acked frees the identifier of a QoS 1 message in flight and returns the message.
func (p *packets) acked(id uint16) (m uint64, ok bool) {
	i := p.find(id)
	if i < 0 || p.list[i].state != inFlight || p.list[i].qos != message.AtLeastOnce {
		return 0, false
	}
	m = p.list[i].message
	p.remove(i)
	return m, true
}

// received moves a QoS 2 message in flight to released, or frees its identifier if it was
// refused, and returns the message: 0 when the device had said so before.
func (p *packets) received(id uint16, refused bool) (m uint64, found bool) {
	i := p.find(id)
	if i < 0 || p.list[i].state == lapsed || p.list[i].qos != message.ExactlyOnce {
		return 0, false
	}
	if e := &p.list[i]; e.state == inFlight {
		m = e.message
	}
	p.list[i].state = released
	if refused {
		p.remove(i)
	}
	return m, true
}

// completed frees the identifier of a message that was released.
func (p *packets) completed(id uint16) bool {
	i := p.find(id)
	if i < 0 || p.list[i].state != released {
		return false
	}
	p.remove(i)
	return true
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
		p.list = append(p.list, packet{e.Message, e.ID, e.QoS, state})
	}
	p.rewind()
}
