package session

import (
	"slices"
	"sync"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// Some publications of an MQTT device are no messages but for the gateway itself: calls of services, and replies to calls. They
// are answered by PUBACK and PUBREC in the order of all publications, as soon as the gateway has them. A call that is repeated must
// not be begun again: of QoS 2 the packet identifier tells that, until the device releases it; of QoS 1 the flag DUP, the identifier and
// the contents.

// Taken is a publication that is for the gateway itself.
type Taken struct {
	ID      uint16
	QoS     message.QoS
	Again   bool       // DUP
	Sum     uint64     // of the contents of a call of QoS 1
	Call    bool       // it is a call
	Refused wire.Error // why it is refused, unless it is a repetition
}

// takenCalls are the last calls that came as publications of QoS 1 or 2, by session. Sessions that make none take no memory, and
// those of others that make many may be forgotten.
type takenCalls struct {
	mu sync.Mutex // taken after the lock of a session
	by map[*Session][]takenCall
}

// takenCall is one of them.
type takenCall struct {
	id        uint16
	sum       uint64
	connected int64 // Session.changed: on which connection it came
}

// Bounds of takenCalls.
const (
	keptTaken     = 16      // calls of a session
	takenSessions = 1 << 16 // sessions
)

// find returns the call of a session that has an identifier and, unless it is 0, a sum. The session is locked.
func (t *takenCalls) find(s *Session, id uint16, sum uint64) (c takenCall, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.by[s]
	i := slices.IndexFunc(of, func(c takenCall) bool { return c.id == id && (sum == 0 || c.sum == sum) })
	if i < 0 {
		return c, false
	}
	return of[i], true
}

// add adds a call of a session, in place of the oldest if there are too many. The session is locked.
func (t *takenCalls) add(s *Session, id uint16, sum uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch _, known := t.by[s]; {
	case t.by == nil:
		t.by = make(map[*Session][]takenCall)
	case !known && len(t.by) >= takenSessions:
		for any := range t.by {
			delete(t.by, any)
			break
		}
	}
	of := slices.DeleteFunc(t.by[s], func(c takenCall) bool { return c.id == id })
	t.by[s] = append(of[max(0, len(of)+1-keptTaken):], takenCall{id, sum, s.changed})
}

// forget forgets the calls of a session, which is locked.
func (t *takenCalls) forget(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.by, s)
}

// Take notes and answers a publication that is for the gateway itself, and counts a call that is refused. fresh reports whether the
// publication shall have its effect: it is not refused, and no repetition. earlier reports whether it is the repetition of a call that came on an earlier connection, where its
// reply was lost if the device did not get it. An error is a *wire.Close.
func (l *Link) Take(t Taken) (fresh, earlier bool, err error) {
	s := l.session
	s.mu.Lock()
	live := s.link == l
	if live {
		fresh, earlier, err = s.noteTaken(&t)
	}
	s.mu.Unlock()
	if live && t.Call && t.Refused.Code != "" {
		s.manager.callStats.count(t.Refused.Code)
	}
	switch {
	case !live, err != nil:
	case t.QoS == message.AtMostOnce:
	case t.QoS == message.ExactlyOnce && fresh && l.Durable():
		l.answerSafe(t.ID)
	case fresh || t.Refused.Code == "":
		l.answerAs(wire.Call, uint64(t.ID), t.QoS, wire.Error{})
	default:
		l.answerAs(wire.Call, uint64(t.ID), t.QoS, t.Refused)
	}
	return fresh, earlier, err
}

// noteTaken is Take without the answer. It sets t.Refused to none for a repetition, and to the reason why the publication cannot be
// noted. The session is locked.
func (s *Session) noteTaken(t *Taken) (fresh, earlier bool, err error) {
	m := s.liveMQTT()
	repeated := false
	switch {
	case m == nil || t.QoS == message.AtMostOnce:
		return t.Refused.Code == "", false, nil
	case t.QoS == message.ExactlyOnce && m.routed[t.ID] != nil:
		return false, false, wire.CloseContract.Because("the packet identifier is that of a publication that is not answered yet")
	case t.QoS == message.ExactlyOnce:
		repeated = m.received.Has(t.ID)
		first, known := s.manager.taken.find(s, t.ID, 0)
		earlier = repeated && t.Call && !(known && first.connected == s.changed)
	case t.Again && t.Call:
		var first takenCall
		first, repeated = s.manager.taken.find(s, t.ID, t.Sum)
		earlier = repeated && first.connected != s.changed
	}
	switch {
	case repeated:
		t.Refused = wire.Error{}
		return false, earlier, nil
	case t.Refused.Code != "":
		return false, false, nil
	case t.QoS == message.ExactlyOnce && m.atReceiveMaximum(s.manager.config.Unanswered):
		return false, false, wire.CloseReceiveMax
	case t.QoS == message.ExactlyOnce && s.durable() && s.manager.store.Err() != nil:
		t.Refused = refusal(router.ErrStore)
		return false, false, nil
	}
	if t.Call {
		s.manager.taken.add(s, t.ID, t.Sum)
	}
	if t.QoS == message.ExactlyOnce {
		s.changeReceived(func(x *store.Identifiers) { x.Add(t.ID) })
		if s.durable() {
			s.manager.store.Receive(s.device, t.ID)
		}
	}
	return true, false, nil
}

// answerSafe sends PUBREC when the store has the identifier.
func (l *Link) answerSafe(id uint16) {
	place := l.place()
	l.awaitAs(wire.Call, uint64(id), message.ExactlyOnce)
	l.session.manager.store.Commit(func(err error) {
		if err != nil {
			l.conn.Close(wire.CloseInternal.Because("the gateway cannot store that it has the publication")) // err may name files; the store has logged it
			return
		}
		l.tell(place, nil)
	})
}

// Subscribed reports whether the device has a subscription of its own that matches a topic.
func (l *Link) Subscribed(name string) bool {
	s := l.session
	s.mu.Lock()
	all := s.subscriptions
	s.mu.Unlock()
	return slices.ContainsFunc(all, func(sub topic.Subscription) bool { return topic.Match(sub.Filter, name) })
}
