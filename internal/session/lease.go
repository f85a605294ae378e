package session

import (
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire"
)

// While the lease of the node is not valid, others may take its devices. So nothing of QoS 1 and 2 is routed: the connection of a device that
// publishes it is not read until the lease is valid again, and then goes on with the publication that it had read. Nor is a device sent what
// its queue has: it may have the same from its next owner.

// mayDeliver reports whether the device may be sent what its queue has. If not, the session is woken when it may. The session is locked.
func (s *Session) mayDeliver() bool {
	owners := s.manager.config.Owners
	if owners == nil || s.unsent() == 0 || owners.Held() {
		return true
	}
	if !s.claim.waiting {
		s.claim.waiting = true
		owners.WhenHeld(func(error) { // with an error the node ends, and its connections with it
			s.mu.Lock()
			defer s.mu.Unlock()
			s.claim.waiting = false
			s.wake()
		})
	}
	return false
}

// waitsForLease keeps a publication until the lease is valid, and reports whether it has to wait. p is borrowed.
func (l *Link) waitsForLease(p *wire.Packet) bool {
	owners := l.session.manager.config.Owners
	if owners == nil || owners.Held() {
		return false
	}
	l.session.manager.moves.unheld.Add(1)
	own := p.Message.Clone()
	kept := &wire.Packet{Op: wire.Pub, ID: p.ID, Again: p.Again, Expiry: p.Expiry, Message: message.Message{
		Topic: own.Topic, Payload: own.Payload, ContentType: own.ContentType, Properties: own.Properties, Request: own.Request,
		QoS: own.QoS, Retain: own.Retain, PayloadFormat: own.PayloadFormat,
	}}
	l.holdReading()
	owners.WhenHeld(func(err error) { l.conn.Do(func() { l.goOnHeld(kept, err) }) })
	return true
}

// goOnHeld goes on with a publication that has waited. On the loop.
func (l *Link) goOnHeld(p *wire.Packet, err error) {
	if err == nil {
		err = l.publish(p)
	} else {
		err = wire.CloseMoved.Because("the node has left its cluster; retry after 1s")
	}
	if err != nil {
		l.conn.Close(closeFor(err))
		return
	}
	l.releaseReading()
}

// closeFor returns an error of publish as the rule that was broken.
func closeFor(err error) *wire.Close {
	if c, ok := err.(*wire.Close); ok { //nolint:errorlint // publish returns no other
		return c
	}
	return wire.CloseInternal
}
