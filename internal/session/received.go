package session

import (
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire"
)

// receipt says how far the session is with a QoS 2 publication.
type receipt uint8

const (
	firstTime receipt = iota
	waits             // it was routed, and its answer waits
	answered          // it was routed, and all receivers have it
)

// receive notes a QoS 2 publication of the device. The caller routes it the first time only, until the device releases
// its identifier [MQTT-4.3.3-10].
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

// settle notes the answer to a publication, and reports whether its identifier is still in use. The identifier of a
// refused publication is free [MQTT-4.3.3-9].
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

// atReceiveMaximum reports whether the device has as many unreleased publications as the Receive Maximum that it was
// told allows [MQTT-3.3.4-9]. A device that was told none may have as many as there are identifiers.
func (t *mqtt) atReceiveMaximum(most int) bool { return !t.noRefusals && len(t.received) >= most }

// receive is mqtt.receive for the live connection. An error is a *wire.Close. A device without packet identifiers
// never repeats a publication.
func (s *Session) receive(p *publication) (receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.liveMQTT()
	if t == nil {
		return firstTime, nil
	}
	if _, known := t.received[uint16(p.id)]; !known && t.atReceiveMaximum(s.manager.config.Unanswered) {
		return 0, wire.CloseReceiveMax
	}
	return t.receive(p), nil
}

// reserve reports whether a publication may wait without a deadline: the device cannot be refused, and fewer than
// Config.Unanswered of its publications wait so, over all its connections. Further ones, of a device that connected
// again, have a deadline and may be refused.
func (s *Session) reserve() bool {
	if s.mqtt == nil || !s.mqtt.noRefusals { // uplink is held: neither changes
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

// publication is a QoS 1 or 2 publication of an MQTT device that was given to the router.
type publication struct {
	// Static after construction.
	session *Session
	id      uint64
	qos     message.QoS

	noDeadline bool // it may wait without a deadline, see reserve; static once it is routed

	// Guarded by Session.mu.
	link *Link // the connection on which it came last, which gets the answer
	over bool  // conclude was called
}

// settle sends the answer to a publication that waited. Safe from any goroutine.
func (p *publication) settle(err error) {
	s := p.session
	l := s.conclude(p, err)
	if err == nil && p.qos == message.ExactlyOnce && s.manager.durable { // PUBREC promises that the identifier is kept
		s.manager.store.Commit(func(err error) { l.tell(p.qos, p.id, err) })
		return
	}
	l.tell(p.qos, p.id, err)
}

// conclude notes the answer to a publication and returns the connection that gets it: the one on which it came last.
// If the device has a newer connection, it repeats the publication there and gets the answer then.
func (s *Session) conclude(p *publication, err error) *Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.over = true
	t, id := s.mqtt, uint16(p.id)
	if t == nil {
		return p.link
	}
	if p.noDeadline && t.waiting > 0 { // it is 0 if the device has spoken another protocol meanwhile
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

// delay remembers a QoS 1 publication that waits, so that it is not routed again when the device connects again and
// repeats it.
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

// stillWaits reports whether a QoS 1 publication that the device repeats on l still waits for its answer, which l gets
// from now on.
func (s *Session) stillWaits(l *Link, id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mqtt == nil || s.mqtt.delayed[id] == nil {
		return false
	}
	s.mqtt.delayed[id].link = l
	return true
}
