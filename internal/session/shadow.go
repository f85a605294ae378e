package session

import (
	"container/list"
	"sync"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// A session that another node has taken stays as a shadow for a while: publishers still send to this node what matches its subscriptions, until
// they have read what the new owner announces. The shadow is in the router as the session was, and passes on what comes. It also knows which
// publications of QoS 2 of the device this node has routed, in case the device repeats them at the new owner.

// shadow is what a session has besides, as a shadow. Guarded by Session.mu.
type shadow struct {
	move   Move
	passes bool          // it passes messages on: the session outlives its connections, so the new owner has it
	place  *list.Element // guarded by shadows.mu
	behind bool          // this node has a session of the device again, which gets what is published in the device's own space

	// Of the device's publications of QoS 2.
	received  *store.Identifiers      // those that were answered and not released
	forgotten bool                    // there were too many of these
	routed    map[uint16]*publication // those whose answers wait
	asked     []inquirer              // who waits for these answers
}

const (
	shadowTime       = time.Minute // how long a shadow stays if the cluster does not end it
	shadowsPerDevice = 16          // of a device that comes and goes
	keptReceived     = 1 << 10     // bytes of received identifiers that a shadow keeps
	inquirersAtOnce  = 64          // who may wait for answers of a shadow
)

// shade makes the session a shadow. A session that ends with its connection has another one behind it: nothing is for that. The session and
// the manager are locked.
func (s *Session) shade(to Move) {
	x := &shadow{move: to, passes: s.expiry > 0}
	s.claim.shadow = x
	if !x.passes {
		s.unsubscribeAll()
	}
	if cut := s.manager.shadows.add(s, s.manager.config.MaxSessions); cut != nil {
		s.manager.admitting.Go(func() { s.manager.endShadow(cut) })
	}
}

// isShadow reports whether another node has the session. The session is locked.
func (s *Session) isShadow() bool { return s.claim != nil && s.claim.shadow != nil }

// learn tells the shadow that a move has left what is known of it now: the store knows only who has the device.
func (x *shadows) learn(device string, to Move) {
	of := x.of(device)
	for i := len(of) - 1; i >= 0 && to.Since != 0; i-- {
		if of[i].learns(to) {
			return
		}
	}
}

// learns is learn for one shadow, and reports whether the move has left it.
func (s *Session) learns(to Move) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claim.epoch >= to.Epoch {
		return false
	}
	s.claim.shadow.move = to
	return true
}

// passOn gives a message to the new owner, unless that gets it itself. The session is a shadow, and locked.
func (s *Session) passOn(m *message.Message, q message.QoS, p *router.Publication) error {
	x := s.claim.shadow
	switch {
	case !x.passes:
		return s.refuseEnded(m)
	case x.behind && topic.SpaceOf(m.Topic) == s.device:
		return nil
	case x.move.Since != 0 && m.At >= x.move.Since && !s.single(m):
		return nil
	}
	s.manager.moves.passed.Add(1)
	var c *router.Claim
	if q > message.AtMostOnce && p != nil {
		c = p.Claim()
	}
	s.manager.config.Owners.Forward(s.device, x.move.To, m, q, c)
	return nil
}

// passLine passes on some of the messages that waited for room when the session was lost, and reports whether there are more.
func (s *Session) passLine(line *router.Waiting) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range line.Take(redeliverAtOnce) {
		s.manager.moves.passed.Add(1)
		s.manager.config.Owners.Forward(s.device, s.claim.shadow.move.To, x.Message, x.QoS, x.Claim)
	}
	return line.Len() > 0
}

// leaveBehind tells the shadows of a device that it has a session here again. The manager is locked.
func (m *Manager) leaveBehind(device string) {
	for _, s := range m.shadows.of(device) {
		s.mu.Lock()
		s.claim.shadow.behind = true
		s.mu.Unlock()
	}
}

// endShadow ends the subscriptions of a shadow. Without locks.
func (m *Manager) endShadow(s *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsubscribeAll()
}

// shadows are the shadows of a node. There are at most as many as sessions are allowed, and a few per device; the oldest end for others.
type shadows struct {
	end func(*Session) // called without locks; static

	// Guarded by mu, which is taken after a session's lock, never before.
	mu       sync.Mutex
	byDevice map[string][]*Session // oldest first
	line     list.List             // of shadowEnd, in the order of their ends
	timer    *time.Timer           // nil while there are none
	cut      uint64                // how many ended for others
	stopped  bool
}

// shadowEnd is when a shadow ends at the latest.
type shadowEnd struct {
	session *Session
	at      time.Time
}

// add adds the shadow s, which is locked. If there are too many, it removes and returns the oldest, which the caller ends.
func (x *shadows) add(s *Session, most int) (cut *Session) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch of := x.byDevice[s.device]; {
	case len(of) >= shadowsPerDevice:
		cut = of[0]
	case x.line.Len() >= most:
		cut = x.line.Front().Value.(shadowEnd).session
	}
	if cut != nil {
		x.cut++
		x.remove(cut)
	}
	if x.byDevice == nil {
		x.byDevice = make(map[string][]*Session)
	}
	x.byDevice[s.device] = append(x.byDevice[s.device], s)
	s.claim.shadow.place = x.line.PushBack(shadowEnd{s, time.Now().Add(shadowTime)})
	x.schedule()
	return cut
}

// remove removes a shadow, if it is there. x is locked.
func (x *shadows) remove(s *Session) {
	of := x.byDevice[s.device]
	for i := range of {
		if of[i] != s {
			continue
		}
		x.line.Remove(s.claim.shadow.place)
		if of = append(of[:i:i], of[i+1:]...); len(of) == 0 {
			delete(x.byDevice, s.device)
		} else {
			x.byDevice[s.device] = of
		}
		return
	}
}

// of returns the shadows of a device, oldest first.
func (x *shadows) of(device string) []*Session {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.byDevice[device] // remove makes a new list
}

// newest returns the newest shadow of a device, or nil.
func (x *shadows) newest(device string) *Session {
	if of := x.of(device); len(of) > 0 {
		return of[len(of)-1]
	}
	return nil
}

// before returns the newest shadow of a device whose claim is older than one, or nil. Without locks.
func (x *shadows) before(device string, epoch uint64) *Session {
	of := x.of(device)
	for i := len(of) - 1; i >= 0; i-- {
		if of[i].claimEpoch() < epoch {
			return of[i]
		}
	}
	return nil
}

func (s *Session) claimEpoch() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claim.epoch
}

// finish ends the shadow that the move of an epoch has left, as Lose or learn was told. Without locks.
func (x *shadows) finish(device string, epoch uint64) {
	for _, s := range x.of(device) {
		s.mu.Lock()
		is := s.claim.shadow.move.Epoch == epoch
		s.mu.Unlock()
		if is {
			x.mu.Lock()
			x.remove(s)
			x.mu.Unlock()
			x.end(s)
		}
	}
}

// schedule arms the timer for the first that ends. x is locked.
func (x *shadows) schedule() {
	first := x.line.Front()
	if first == nil || x.timer != nil || x.stopped {
		return
	}
	x.timer = time.AfterFunc(time.Until(first.Value.(shadowEnd).at), x.endDue)
}

// shadowsAtOnce is how many shadows endDue ends at a time.
const shadowsAtOnce = 256

// endDue is what the timer does.
func (x *shadows) endDue() {
	for _, s := range x.due() {
		x.end(s)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.timer = nil
	x.schedule()
}

// due removes and returns shadows whose time is over.
func (x *shadows) due() (over []*Session) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for now := time.Now(); len(over) < shadowsAtOnce; {
		first := x.line.Front()
		if first == nil || first.Value.(shadowEnd).at.After(now) {
			break
		}
		s := first.Value.(shadowEnd).session
		x.remove(s)
		over = append(over, s)
	}
	return over
}

func (x *shadows) count() (n int, cut uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.line.Len(), x.cut
}

func (x *shadows) stop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stopped = true
	if x.timer != nil {
		x.timer.Stop()
	}
}

// Elsewhere reports whether another node has the session, so that this is what is left of it.
func (s *Session) Elsewhere() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isShadow()
}
