package session

import (
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// Exchanger is a Conn of a protocol that has packet identifiers and QoS 2: MQTT. What has
// QoS 1 or 2 goes by SendPacket, and QoS 0 by Send.
type Exchanger interface {
	Conn
	// SendPacket writes m as a PUBLISH of QoS 1 or 2. again says that it was sent on an older
	// connection with the same id: its DUP flag. On the loop.
	SendPacket(m *message.Message, q message.QoS, id uint16, again bool)
	// Release writes a PUBREL, on a connection that saw no PUBREC of it. On the loop.
	Release(id uint16)
}

// maxWindow leaves packet identifiers free, whatever is in flight.
const maxWindow = 60_000

// mqtt is what a session needs of MQTT: packet identifiers both ways, and a will. Guarded by
// Session.mu.
type mqtt struct {
	// Of the live connection.
	conn    Exchanger // nil while there is none, or it has no packet identifiers
	window  int32     // messages that may be on their way to the device
	patient bool      // Options.Patient

	// Of the session.
	waiting  int32                   // publications of patient connections that wait for room
	last     uint16                  // the identifier that was given last
	received map[uint16]*publication // QoS 2 publications of the device that it has not released; nil for one that was answered
	delayed  map[uint16]*publication // QoS 1 publications of the device whose answers wait
	will     *store.Will             // to be published; nil when there is none
}

// equip readies what the connection needs of MQTT, and lets go of what it cannot use: an
// older will is not sent [MQTT-3.1.3-9], and identifiers end with a change of protocol.
func (s *Session) equip(conn Conn, o *Options, will *store.Will) {
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
	t.conn, t.patient = x, o.Patient
	s.setWill(will)
	t.window = int32(min(s.manager.config.InFlight, maxWindow))
	if o.ReceiveMaximum > 0 { // MQTT 5 §4.9
		t.window = min(t.window, int32(o.ReceiveMaximum))
	}
}

// forgetPackets frees all packet identifiers.
func (s *Session) forgetPackets() {
	if s.queue != nil {
		s.queue.ForgetPackets()
		s.tidy()
	}
	if s.mqtt != nil && len(s.mqtt.received) > 0 && s.manager.durable {
		s.manager.store.Release(s.device, 0)
	}
}

// unplug ends the connection.
func (s *Session) unplug() {
	t := s.mqtt
	if t == nil {
		return
	}
	t.conn = nil
	if s.queue == nil && len(t.received)+len(t.delayed) == 0 && t.waiting == 0 && t.will == nil {
		s.mqtt = nil
	}
}

// exchange is the session's mqtt if the live connection has packet identifiers, or nil.
func (s *Session) exchange() *mqtt {
	if s.mqtt == nil || s.mqtt.conn == nil {
		return nil
	}
	return s.mqtt
}

// sendPacket is sendNext for a connection that has packet identifiers. PUBREL for what was lost on the way leaves first.
func (s *Session) sendPacket(t *mqtt, now time.Time) bool {
	p, ok := s.queue.NextPacket(now, t.last)
	s.release(t, now)
	switch {
	case !ok:
	case p.QoS == message.AtMostOnce:
		s.countDown(p.Message, p.QoS)
		t.conn.Send(p.Message, p.QoS)
	default:
		if !p.Again {
			t.last = p.ID
		}
		s.countDown(p.Message, p.QoS)
		t.conn.SendPacket(p.Message, p.QoS, p.ID, p.Again)
	}
	return ok
}

// release sends PUBREL for what was received, or lost, before this connection, in the order of
// PUBREC [MQTT-4.4.0-1] [MQTT-4.6.0-4]. There is a queue.
func (s *Session) release(t *mqtt, now time.Time) {
	for id, ok := s.queue.NextRelease(now); ok; id, ok = s.queue.NextRelease(now) {
		t.conn.Release(id)
	}
}

// restoreMQTT makes s.mqtt from a record.
func (s *Session) restoreMQTT(r *store.Record) {
	if r.Will == nil && len(r.Received) == 0 {
		return
	}
	s.mqtt = &mqtt{received: make(map[uint16]*publication, len(r.Received))}
	s.setWill(r.Will)
	for _, id := range r.Received {
		s.mqtt.received[id] = nil // answered
	}
}
