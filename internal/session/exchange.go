package session

import (
	"time"

	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/wire"
)

// These methods of a Link handle the acknowledgements of a device with packet identifiers, MQTT 5 §4.3. An unknown identifier
// changes nothing: the acknowledgement is late, or of a session that the device believes to have. An acknowledgement of another
// QoS than the message's, or one that comes too early, is an error, a *wire.Close: otherwise the message would be in flight for
// ever [MQTT-4.13.1-1] [3.1.1 MQTT-4.8.0-1].

var errAnswer = wire.CloseContract.Because("the acknowledgement does not match the state of its packet identifier")

// Acked handles PUBACK: the device has the QoS 1 message. A PUBACK with an error code ends its delivery as well, MQTT
// 5 §4.4.
func (l *Link) Acked(id uint16) (err error) {
	l.exchange(func(s *Session) (moved bool) {
		var m uint64
		if m, err = s.queue.Acked(id); m == 0 {
			return false
		}
		s.countAcknowledged(m)
		return true
	})
	return answerError(err)
}

// Received handles PUBREC: the device has the QoS 2 message, or refuses it. found reports whether the device was sent
// one with this identifier. The caller answers with PUBREL, with 0x92 if not found, and does not answer a refusal.
// MQTT 5 §4.3.3.
func (l *Link) Received(id uint16, refused bool) (found bool, err error) {
	l.exchange(func(s *Session) (moved bool) {
		var m uint64
		if m, found, err = s.queue.Received(id, refused, time.Now()); m != 0 {
			s.countAcknowledged(m)
		}
		return m != 0 || found && refused
	})
	return found, answerError(err)
}

// Completed handles PUBCOMP: the identifier is free.
func (l *Link) Completed(id uint16) (err error) {
	l.exchange(func(s *Session) (moved bool) {
		moved, err = s.queue.Completed(id)
		return moved
	})
	return answerError(err)
}

// answerError returns what the device is told about an error of the queue.
func answerError(err error) error {
	if err != nil {
		return errAnswer
	}
	return nil
}

// exchange calls f, which changes the state of a packet identifier in the queue, and sends what there is room for if f
// returns true.
func (l *Link) exchange(f func(*Session) (moved bool)) {
	s := l.session
	var admitted []*router.Claim
	s.mu.Lock()
	if s.link == l && s.liveMQTT() != nil && s.queue != nil && f(s) {
		s.acknowledged()
		admitted = s.flushAll(l.conn, nil)
		s.wakeToSearch()
	}
	s.mu.Unlock()
	s.manager.tell(admitted)
}

// removeAcknowledged removes a message that the device has acknowledged from the queue, and reports whether it was in
// flight.
func (s *Session) removeAcknowledged(id uint64) bool {
	if s.queue == nil || !s.queue.Ack(id) {
		return false
	}
	s.countAcknowledged(id)
	return true
}

// countAcknowledged counts a message that the device has acknowledged, which has left the queue, and tells the observer.
func (s *Session) countAcknowledged(id uint64) {
	s.down().Acknowledged++
	s.observeAcknowledged(id)
}

// Released handles PUBREL: the device will not send the QoS 2 publication again. found reports whether the identifier
// was known. The caller answers with PUBCOMP, with 0x92 if not found, by WhenSafe: a node that forgot the release
// would take the next publication with the identifier for a repetition.
func (l *Link) Released(id uint16) (found bool) {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link == l && s.liveMQTT() != nil && s.releaseReceived(id)
}
