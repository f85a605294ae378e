package session

import (
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
)

// publication is a QoS 1 or 2 publication of an MQTT device that was given to the router.
type publication struct {
	// Static after construction.
	session *Session
	id      uint16
	qos     message.QoS

	noDeadline bool // it may wait without a deadline, see reserve; static once it is routed

	// Guarded by Session.mu.
	link  *Link  // the connection on which it came last, which gets the answer
	place uint32 // in the line of that connection
	noted bool   // note has given its identifier to the store
	over  bool   // conclude was called
}

// unanswered returns the publications of a QoS whose answers wait, by their identifiers.
func (t *mqtt) unanswered(q message.QoS) map[uint16]*publication {
	if q == message.ExactlyOnce {
		return t.routed
	}
	return t.delayed
}

// waits remembers a publication whose answer waits.
func (t *mqtt) waits(p *publication) {
	all := &t.delayed
	if p.qos == message.ExactlyOnce {
		all = &t.routed
	}
	if *all == nil {
		*all = make(map[uint16]*publication)
	}
	(*all)[p.id] = p
}

// atReceiveMaximum reports whether the device has as many unreleased publications as the Receive Maximum that it was
// told allows [MQTT-3.3.4-9]. A device that was told none may have as many as there are identifiers.
func (t *mqtt) atReceiveMaximum(most int) bool {
	return !t.noRefusals && t.received.Len()+len(t.routed) >= most
}

// receive notes a QoS 2 publication of the live connection, which does not wait for its answer. known reports whether it was routed
// and answered before: the caller routes it the first time only, until the device releases its identifier [MQTT-4.3.3-10]. An
// error is a *wire.Close. A device without packet identifiers never repeats a publication.
func (s *Session) receive(p *publication) (known bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.liveMQTT()
	switch {
	case t == nil:
		return false, nil
	case t.received.Has(p.id):
		return true, nil
	case t.atReceiveMaximum(s.manager.config.Unanswered):
		return false, wire.CloseReceiveMax
	}
	t.waits(p)
	return false, nil
}

// repeat handles a publication that the device repeats on l while its first one waits for its answer, which l gets from now on: the
// error is errRepeated, or errAwaited if l gets it already. If none waits, the error is nil.
func (s *Session) repeat(l *Link, q message.QoS, id uint16) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mqtt == nil {
		return nil
	}
	switch p := s.mqtt.unanswered(q)[id]; {
	case p == nil:
		return nil
	case p.link == l:
		return errAwaited
	default:
		p.link, p.place = l, l.place()
		return errRepeated
	}
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

// delay remembers a QoS 1 publication that waits, so that it is not routed again when the device connects again and
// repeats it.
func (s *Session) delay(p *publication) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mqtt != nil && !p.over && p.qos == message.AtLeastOnce {
		s.mqtt.waits(p)
	}
}

// note is router.Publisher.Note of a QoS 2 publication: PUBREC promises that its identifier is kept. It is given to the store
// behind the message, so that a kill between the two leaves the message without the identifier, and the device repeats the
// publication. The other way round the repetition would be taken for one that was routed, and the message would be lost.
func (p *publication) note() (saved bool) {
	s := p.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.durable() || s.mqtt == nil || s.mqtt.routed[p.id] != p { // the device has released it
		return false
	}
	p.noted = true
	s.manager.store.Receive(s.device, p.id)
	return true
}

// settle sends the answer to a publication that waited. Safe from any goroutine.
func (p *publication) settle(err error) {
	link, place := p.session.conclude(p, err, true)
	link.tell(place, err)
}

// conclude notes the answer to a publication, and returns the connection that gets it: the one on which it came last.
// If the device has a newer connection, it repeats the publication there and gets the answer then.
//
// The identifier of a refused QoS 2 publication is free [MQTT-4.3.3-9]. later says that the answer came later.
func (s *Session) conclude(p *publication, err error, later bool) (*Link, uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if later {
		s.countAnswer(err)
	}
	p.over = true
	t := s.mqtt
	if s.isShadow() {
		s.concludeRouted(p, err)
	}
	if t == nil {
		return p.link, p.place
	}
	if p.noDeadline && t.waiting > 0 { // it is 0 if the device has spoken another protocol meanwhile
		t.waiting--
	}
	if all := t.unanswered(p.qos); all[p.id] == p { // otherwise the device has released it
		delete(all, p.id)
		switch {
		case p.qos != message.ExactlyOnce:
		case err == nil:
			s.changeReceived(func(x *store.Identifiers) { x.Add(p.id) })
		case p.noted:
			s.manager.store.Release(s.device, p.id)
		}
	}
	return p.link, p.place
}

// releaseReceived frees the identifier of a QoS 2 publication of the device, and reports whether it was in use. The session has an MQTT
// part, and is locked.
func (s *Session) releaseReceived(id uint16) bool {
	t := s.mqtt
	s.settleIdentifier(id)
	if !t.received.Has(id) && t.routed[id] == nil {
		return false
	}
	if delete(t.routed, id); t.received != nil {
		s.changeReceived(func(x *store.Identifiers) { x.Remove(id) })
	}
	if s.manager.durable {
		s.manager.store.Release(s.device, id)
	}
	return true
}

// forgetReceived forgets all QoS 2 publications of the device, and reports whether there were any. The session has an MQTT part,
// and is locked.
func (s *Session) forgetReceived() (some bool) {
	t := s.mqtt
	some = t.received.Len()+len(t.routed) > 0
	if t.received != nil {
		s.changeReceived(func(x *store.Identifiers) { *x = store.Identifiers{} })
	}
	t.received, t.routed = nil, nil
	return some
}

// receivedPart is in what parts the memory of received identifiers counts in the account. Most devices have less than one.
const receivedPart = 256

// changeReceived changes the received identifiers, and counts their memory among what the node keeps for the device: a device of
// 3.1.1 cannot be told how many it may have. The session has an MQTT part, and is locked.
func (s *Session) changeReceived(change func(*store.Identifiers)) {
	if s.mqtt.received == nil {
		s.mqtt.received = new(store.Identifiers)
	}
	x := s.mqtt.received
	before := x.Bytes() / receivedPart
	change(x)
	if more := x.Bytes()/receivedPart - before; more != 0 {
		s.manager.router.Account().Count(message.DebtorOf(s.device, 0), int64(more*receivedPart))
	}
}
