package session

import (
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire"
)

// receipt is what a QoS 2 publication is to the session.
type receipt uint8

const (
	firstTime receipt = iota
	waits             // it was routed, and its answer waits
	answered          // it was routed, and taken by all
)

// receive notes a QoS 2 publication of the device: it is routed the first time only, until
// the device releases its identifier [MQTT-4.3.3-10].
func (t *mqtt) receive(p *publication) receipt {
	switch first, there := t.received[uint16(p.id)]; {
	case first != nil:
		first.link = p.link
		return waits
	case there:
		return answered
	}
	if t.received == nil {
		t.received = make(map[uint16]*publication)
	}
	t.received[uint16(p.id)] = p
	return firstTime
}

// settle notes what became of a publication, and reports whether its identifier is in use still. That of a refused one is
// free [MQTT-4.3.3-9].
func (t *mqtt) settle(p *publication, err error) (used bool) {
	id := uint16(p.id)
	if t.received[id] != p { // the device has released it
		return false
	}
	if err != nil {
		delete(t.received, id)
		return false
	}
	t.received[id] = nil
	return true
}

// crowded tells whether the device has as many unreleased publications as it may have: the
// Receive Maximum that it was told [MQTT-3.3.4-9]. A patient one was told none; it has as many
// as there are identifiers.
func (t *mqtt) crowded(most int) bool { return !t.patient && len(t.received) >= most }

// receive is mqtt.receive for the live connection. An error is a *wire.Close. One without
// packet identifiers never repeats a publication.
func (s *Session) receive(p *publication) (receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.exchange()
	if t == nil {
		return firstTime, nil
	}
	if _, known := t.received[uint16(p.id)]; !known && t.crowded(s.manager.config.Unanswered) {
		return 0, wire.CloseReceiveMax
	}
	return t.receive(p), nil
}

// reserve takes a place for a publication that may wait for ever, if the connection is a
// patient one and there is a place: there are as many as its answers may wait, whatever the
// number of its connections. One more than that, of a device that connected again, waits as
// long as any, and may be refused.
func (s *Session) reserve() bool {
	if s.mqtt == nil || !s.mqtt.patient { // uplink is held: neither changes
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(s.mqtt.waiting) >= s.manager.config.Unanswered {
		return false
	}
	s.mqtt.waiting++
	return true
}

// publication is one of an MQTT device, of QoS 1 or 2, that was given to the router.
type publication struct {
	// Static after construction.
	session *Session
	id      uint64
	qos     message.QoS

	patient bool // it has a place among those that wait for ever; static once it is routed

	// Guarded by Session.mu.
	link *Link // on which it came last: no other waits for its answer
	over bool
}

// settle sends the answer to a publication that waited. Safe from any goroutine.
func (p *publication) settle(err error) {
	s := p.session
	l := s.conclude(p, err)
	if err == nil && p.qos == message.ExactlyOnce && s.manager.durable { // PUBREC says that the identifier is kept
		s.manager.store.Commit(func(err error) { l.tell(p.qos, p.id, err) })
		return
	}
	l.tell(p.qos, p.id, err)
}

// conclude notes what became of a publication and returns the connection that waits for its answer: the one on
// which it came last. On a newer one the device has still to repeat it, and is answered then.
func (s *Session) conclude(p *publication, err error) *Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.over = true
	t, id := s.mqtt, uint16(p.id)
	if t == nil {
		return p.link
	}
	if p.patient && t.waiting > 0 { // it is 0 when another protocol was spoken meanwhile
		t.waiting--
	}
	switch {
	case p.qos == message.ExactlyOnce:
		if t.settle(p, err) && s.manager.durable {
			s.manager.store.Receive(s.device, id)
		}
	case t.delayed[id] == p:
		delete(t.delayed, id)
	}
	return p.link
}

// delay remembers a QoS 1 publication that waits, for a device that connects again and
// repeats it: one that waits for long must not be routed at each connection.
func (s *Session) delay(p *publication) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mqtt == nil || p.over || p.qos != message.AtLeastOnce {
		return
	}
	if s.mqtt.delayed == nil {
		s.mqtt.delayed = make(map[uint16]*publication)
	}
	s.mqtt.delayed[uint16(p.id)] = p
}

// repeats reports whether a QoS 1 publication that the device sends again on l still waits: it is answered there.
func (s *Session) repeats(l *Link, id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mqtt == nil || s.mqtt.delayed[id] == nil {
		return false
	}
	s.mqtt.delayed[id].link = l
	return true
}
