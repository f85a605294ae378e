package session

import (
	"time"

	"github.com/longline/longline/internal/router"
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
	l.exchange(func(s *Session) (moved bool) {
		var m uint64
		if m, err = s.queue.Acked(id); m == 0 {
			return false
		}
		s.observeAcknowledged(m)
		return true
	})
	return answerError(err)
}

// Received is for PUBREC: the device has the QoS 2 message, or refused it. found tells
// whether it was sent one with this identifier: the answer is PUBREL, with 0x92 when it was
// not, and nothing to a refusal. MQTT 5 §4.3.3.
func (l *Link) Received(id uint16, refused bool) (found bool, err error) {
	l.exchange(func(s *Session) (moved bool) {
		var m uint64
		if m, found, err = s.queue.Received(id, refused, time.Now()); m != 0 {
			s.observeAcknowledged(m)
		}
		return m != 0 || found && refused
	})
	return found, answerError(err)
}

// Completed is for PUBCOMP: the identifier is free.
func (l *Link) Completed(id uint16) (err error) {
	l.exchange(func(s *Session) (moved bool) {
		moved, err = s.queue.Completed(id)
		return moved
	})
	return answerError(err)
}

// answerError is what the device is told about an error of the queue's.
func answerError(err error) error {
	if err != nil {
		return errAnswer
	}
	return nil
}

// exchange lets f change what the queue knows, which there is, and sends what there is room for if it moved.
func (l *Link) exchange(f func(*Session) (moved bool)) {
	s := l.session
	var admitted []*router.Claim
	s.mu.Lock()
	if s.link == l && s.exchange() != nil && s.queue != nil && f(s) {
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
	s.observeAcknowledged(id)
	return true
}

// Released is for PUBREL: the device will not send the QoS 2 publication again. found tells
// whether it was known: the answer is PUBCOMP, with 0x92 when it was not. It is written by WhenSafe: a node that forgot the release
// would take the next publication with the identifier for a repetition.
func (l *Link) Released(id uint16) (found bool) {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.exchange()
	if s.link != l || t == nil {
		return false
	}
	if _, found = t.received[id]; found {
		delete(t.received, id)
		if s.manager.durable {
			s.manager.store.Release(s.device, id)
		}
	}
	return found
}
