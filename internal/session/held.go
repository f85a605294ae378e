package session

import (
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
)

// held are the packets that a durable session must not send before the store is safe: a QoS 2 PUBLISH, because a node that forgot its
// identifier would give it to another message, which the device would then take for a repetition and drop; and a PUBREL, because a node that
// forgot the PUBREC would send the message again to a device that has released it. What comes behind them waits as well, so that the order is
// kept. Guarded by Session.mu; of the live connection.
type held struct {
	packets []store.Packet // a PUBREL has no message
	state   heldState
}

type heldState uint8

const (
	gathers heldState = iota // the fence is asked for at the end of the flush
	waiting                  // for the fence, or for the next one after the store has refused it
	safe                     // the packets may be sent
)

// hold keeps a packet until it is safe, and reports whether it did. It keeps those that need it, and all behind them.
func (s *Session) hold(t *mqtt, p store.Packet) bool {
	if len(t.held.packets) == 0 && (p.QoS != message.ExactlyOnce || !s.durable()) {
		return false
	}
	t.held.packets = append(t.held.packets, p)
	return true
}

// sendHeld sends the packets that are safe while there is room, and reports whether none is left, so that others may be sent. On the loop.
func (s *Session) sendHeld(t *mqtt) bool {
	for h := &t.held; h.state == safe; h.packets = h.packets[1:] {
		if len(h.packets) == 0 {
			*h = held{}
			break
		}
		p := h.packets[0]
		if p.Message == nil {
			t.conn.Release(p.ID)
			continue
		}
		if !t.conn.Room() {
			return false
		}
		s.sendNow(t, p, time.Now())
	}
	return len(t.held.packets) == 0
}

// once counts the QoS 0 messages among the held packets: no queue has them any more.
func (h *held) once() (n int) {
	for i := range h.packets {
		if p := &h.packets[i]; p.Message != nil && p.QoS == message.AtMostOnce {
			n++
		}
	}
	return n
}

// dropHeld forgets the held packets, because the connection has ended.
func (s *Session) dropHeld(t *mqtt) {
	s.drop(router.Offline, t.held.once())
	t.held = held{}
}

// guard asks for the fence behind which the packets that were gathered are safe.
func (s *Session) guard(t *mqtt) {
	if len(t.held.packets) == 0 || t.held.state != gathers {
		return
	}
	t.held.state = waiting
	s.link.awaitSafety()
}

func (l *Link) awaitSafety() {
	l.session.manager.store.Commit(func(err error) { l.conn.Do(func() { l.heldAreSafe(err) }) })
}

// guardAgain is how long a session waits before it asks again for a fence that was refused.
const guardAgain = time.Second

// heldAreSafe runs on the loop when the fence of held packets has passed, or was refused.
func (l *Link) heldAreSafe(err error) {
	s := l.session
	var admitted []*router.Claim
	s.mu.Lock()
	switch t := s.liveMQTT(); {
	case s.link != l || t == nil:
	case err != nil:
		time.AfterFunc(guardAgain, func() { l.conn.Do(l.awaitSafety) })
	default:
		t.held.state = safe
		admitted = s.flushAll(l.conn, nil)
	}
	s.mu.Unlock()
	s.manager.tell(admitted)
}
