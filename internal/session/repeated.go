package session

import (
	"errors"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// A device may repeat at its new node a publication of QoS 2 that it has sent at the node before, and that is routed there, though its
// identifier is not in the store: its answer waits, or came when another node had the device. So the new owner asks the one before about each
// identifier that comes with DUP in the time after the move, unless the device has sent or released it here before. Until the answer is there the
// device is not read, so that its order is kept.

// errForgotten says that a shadow does not know which publications of the device were routed.
var errForgotten = errors.New("the node has forgotten which publications of the device it has routed")

// mayAsk reports whether the owner before may know an identifier that this one does not know. The session is locked.
func (c *claimed) mayAsk(id uint16) bool {
	return c != nil && c.from != "" && time.Since(time.UnixMilli(c.moved)) < shadowTime && !c.settled.Has(id)
}

// settleIdentifier notes that the owner before does not know more than this one of an identifier, and reports whether that is news. The session is
// locked.
func (s *Session) settleIdentifier(id uint16) (news bool) {
	if news = s.claim.mayAsk(id); news {
		if s.claim.settled == nil {
			s.claim.settled = new(store.Identifiers)
		}
		s.claim.settled.Add(id)
	}
	return news
}

// asks reports whether the owner before has to be asked about p, a publication of QoS 2, before it is routed.
func (p *publication) asks(again bool) bool {
	s := p.session
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settleIdentifier(p.id) && again
}

// ask asks the owner before whether p, whose message is m, is routed, and goes on with it by the answer. On the loop; the caller holds
// uplink.
func (p *publication) ask(m *message.Message) {
	l, s, own := p.link, p.session, m.Clone()
	l.holdReading()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.manager.moves.asked.Add(1)
	s.manager.config.Owners.AskReceived(s.device, s.claim.from, s.claim.epoch, p.id, func(received bool, err error) {
		if received && err == nil {
			p.answerReceived()
		} else {
			p.routeLater(own)
		}
		l.conn.Do(l.releaseReading)
	})
}

// answerReceived answers a publication that the owner before has routed, once the store has its identifier.
func (p *publication) answerReceived() {
	if p.note() {
		p.session.manager.store.Commit(p.settle)
	} else {
		p.settle(nil)
	}
}

// routeLater routes a publication that the owner before has not routed, unless another node has the session now.
func (p *publication) routeLater(m *message.Message) {
	if later, err := p.giveLater(m); !later {
		p.settle(err)
	}
}

func (p *publication) giveLater(m *message.Message) (later bool, err error) {
	s := p.session
	s.uplink.Lock()
	defer s.uplink.Unlock()
	if s.hasEnded() {
		return false, ErrTakenOver
	}
	return p.give(m)
}

func (s *Session) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// holdReading stops reading the device until releaseReading.
func (l *Link) holdReading() {
	if l.answers == nil {
		l.answers = new(answers)
	}
	l.answers.asks++
	l.throttle()
}

func (l *Link) releaseReading() {
	if l.answers != nil {
		l.answers.asks--
		l.afterAnswer()
	}
}

// Received tells whether a publication of QoS 2 is routed that a device may have sent at this node before another took it: at once, or when
// its answer is there. epoch is that of the claim that took the device: later claims of this node know nothing of what came before, and two nodes that a device has
// visited in turn would ask each other without end. done is called once, from any goroutine. An error says that this node does not know.
func (m *Manager) Received(device string, epoch uint64, id uint16, done func(received bool, err error)) {
	s := m.shadows.before(device, epoch)
	if s == nil {
		done(false, errForgotten)
		return
	}
	if received, known, err := s.knows(id, done); known {
		done(received, err)
	}
}

// knows is Received for a shadow. If the answer is not known, done gets it later.
func (s *Session) knows(id uint16, done func(bool, error)) (received, known bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.claim.shadow
	switch {
	case x.received.Has(id):
		return true, true, nil
	case x.forgotten, len(x.asked) >= inquirersAtOnce:
		return false, true, errForgotten
	case x.routed[id] != nil:
		x.asked = append(x.asked, inquirer{x.routed[id], done})
		return false, false, nil
	case s.claim.mayAsk(id):
		s.manager.config.Owners.AskReceived(s.device, s.claim.from, s.claim.epoch, id, done)
		return false, false, nil
	}
	return false, true, nil
}

// inquirer waits for the answer to a publication that a shadow has routed.
type inquirer struct {
	of   *publication
	tell func(received bool, err error)
}

// keepReceived keeps what the shadow may be asked about publications of QoS 2.
func (x *shadow) keepReceived(t *mqtt) {
	x.routed = t.routed
	switch {
	case t.received == nil:
	case t.received.Bytes() > keptReceived:
		x.forgotten = true
	default:
		all := *t.received
		x.received = &all
	}
}

// concludeRouted notes the answer to a publication that the session had routed before another node took it, and tells who waits for it.
// The session is a shadow, and locked.
func (s *Session) concludeRouted(p *publication, err error) {
	x := s.claim.shadow
	if x.routed[p.id] != p {
		return
	}
	delete(x.routed, p.id)
	if err == nil {
		if x.received == nil {
			x.received = new(store.Identifiers)
		}
		x.received.Add(p.id)
	}
	var left, told []inquirer
	for _, a := range x.asked {
		if a.of == p {
			told = append(told, a)
		} else {
			left = append(left, a)
		}
	}
	if x.asked = left; told != nil {
		s.manager.admitting.Go(func() {
			for _, a := range told {
				a.tell(err == nil, nil)
			}
		})
	}
}
