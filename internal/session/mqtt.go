package session

import (
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// Exchanger is a Conn of a protocol that has packet identifiers and QoS 2: MQTT. The session sends QoS 1 and 2
// messages by SendPacket, and QoS 0 messages by Send.
type Exchanger interface {
	Conn
	// SendPacket writes m as a PUBLISH of QoS 1 or 2. again is its DUP flag: it was sent on an older connection with
	// the same identifier. It returns false as Send does. On the loop.
	SendPacket(m *message.Message, q message.QoS, id uint16, again bool) (sent bool)
	// Release writes a PUBREL for a PUBREC that came on an older connection. On the loop.
	Release(id uint16)
}

// maxWindow bounds the messages in flight, so that some packet identifiers are always free.
const maxWindow = 60_000

// mqtt is the part of a session that only MQTT needs: packet identifiers in both directions, and a will. Guarded by
// Session.mu.
type mqtt struct {
	// Of the live connection.
	conn       Exchanger // nil while the device is away, or its protocol has no packet identifiers
	window     int32     // how many messages may be in flight
	noRefusals bool      // Options.NoRefusals
	held       held      // what waits until it is safe

	// Of the session.
	waiting  int32                   // publications that wait without a deadline, see reserve
	last     uint16                  // the identifier that was assigned last
	received *store.Identifiers      // of QoS 2 publications that were answered and the device has not released
	routed   map[uint16]*publication // QoS 2 publications of the device whose answers wait
	delayed  map[uint16]*publication // QoS 1 publications of the device whose answers wait
	will     *store.Will             // nil when there is none
}

// attachMQTT prepares the MQTT part for a new connection, and removes what the connection cannot use: the older will,
// which is not sent [MQTT-3.1.3-9], and the packet identifiers if the new protocol has none.
func (s *Session) attachMQTT(conn Conn, o *Options, will *store.Will) {
	x, _ := conn.(Exchanger)
	if s.mqtt != nil {
		s.setWill(nil)
	}
	if x == nil {
		s.forgetPackets()
	}
	switch {
	case x == nil && will == nil:
		s.mqtt = nil
		return
	case x == nil || s.mqtt == nil:
		s.mqtt = new(mqtt)
	}
	t := s.mqtt
	t.conn, t.noRefusals, t.held = x, o.NoRefusals, held{}
	s.setWill(will)
	t.window = int32(min(s.manager.config.InFlight, maxWindow))
	if o.ReceiveMaximum > 0 { // MQTT 5 §4.9
		t.window = min(t.window, int32(o.ReceiveMaximum))
	}
}

// forgetPackets frees all packet identifiers.
func (s *Session) forgetPackets() {
	s.manager.taken.forget(s)
	if s.queue != nil {
		s.queue.ForgetPackets()
		s.reclaimQueue()
	}
	if s.mqtt != nil && s.forgetReceived() && s.manager.durable {
		s.manager.store.Release(s.device, 0)
	}
}

// detachMQTT forgets the connection, and the whole MQTT part if nothing is left in it.
func (s *Session) detachMQTT() {
	t := s.mqtt
	if t == nil {
		return
	}
	s.dropHeld(t)
	t.conn = nil
	if s.queue == nil && t.received.Len()+len(t.routed)+len(t.delayed) == 0 && t.waiting == 0 && t.will == nil {
		s.mqtt = nil
	}
}

// liveMQTT returns the MQTT part if the live connection has packet identifiers, otherwise nil.
func (s *Session) liveMQTT() *mqtt {
	if s.mqtt == nil || s.mqtt.conn == nil {
		return nil
	}
	return s.mqtt
}

// sendPacket is sendNext for a connection that has packet identifiers. It sends PUBREL for messages that expired after
// they were sent first.
func (s *Session) sendPacket(t *mqtt, now time.Time) bool {
	p, ok := s.queue.NextPacket(now, t.last)
	s.release(t, now)
	if !ok {
		return false
	}
	if p.ID != 0 && !p.Again {
		t.last = p.ID
	}
	return s.hold(t, p) || s.sendNow(t, p, now)
}

// sendNow sends a message, and reports whether it did.
func (s *Session) sendNow(t *mqtt, p store.Packet, now time.Time) (sent bool) {
	if p.QoS == message.AtMostOnce {
		return s.sendOnce(t.conn, p.Message)
	}
	if !t.conn.SendPacket(p.Message, p.QoS, p.ID, p.Again) {
		s.removePacket(p.ID, p.QoS, now)
		return s.dropUnsent(p.Message)
	}
	s.countDownlink(p.Message, p.QoS)
	return true
}

// removePacket removes a message that could not be sent, as if the device had refused it [MQTT-3.1.2-25]. The message
// is in flight, so the queue returns no error.
func (s *Session) removePacket(id uint16, q message.QoS, now time.Time) {
	if q == message.ExactlyOnce {
		_, _, _ = s.queue.Received(id, true, now)
	} else {
		_, _ = s.queue.Acked(id)
	}
}

// release sends PUBREL for messages that the device received before this connection, or may have received, in the
// order of PUBREC [MQTT-4.4.0-1] [MQTT-4.6.0-4]. The queue is open.
func (s *Session) release(t *mqtt, now time.Time) {
	for id, ok := s.queue.NextRelease(now); ok; id, ok = s.queue.NextRelease(now) {
		if !s.hold(t, store.Packet{ID: id, QoS: message.ExactlyOnce}) {
			t.conn.Release(id)
		}
	}
}

// restoreMQTT makes the MQTT part from a record, with a will that may be nil.
func (s *Session) restoreMQTT(r *store.Record, will *store.Will) {
	if will == nil && len(r.Received) == 0 {
		return
	}
	s.mqtt = new(mqtt)
	s.setWill(will)
	if len(r.Received) == 0 {
		return
	}
	s.changeReceived(func(x *store.Identifiers) {
		for _, id := range r.Received {
			x.Add(id)
		}
	})
}
