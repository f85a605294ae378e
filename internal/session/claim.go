package session

import (
	"fmt"
	"math"
	"time"

	"github.com/longline/longline/internal/store"
)

// In a cluster a node claims a device before it attaches a connection of it, whatever the protocol and the expiry: so no two nodes have
// one device. What the node before knows of the device is in the store then, and becomes a session at once, also if the connection ends
// meanwhile: from the claim on the device's messages, its will and its expiry are this node's business.

// claimed is what a session has only in a cluster. Guarded by Session.mu.
type claimed struct {
	epoch uint64
	from  string // the owner before, name/life; empty if there was none
	since uint64 // see rule.go; 0 if the session has not moved

	before []string // the owners before from, newest first

	// arriving says that the device counts as on line, though it has no connection: it had one at another node, or was asked to go to one.
	// Within arrivalTime since then nothing says that it left.
	arriving bool
	waiting  bool  // for the lease, to send what the queue has
	moved    int64 // Unix milliseconds when the session came here, or the device was asked to go

	settled *store.Identifiers // see repeated.go; nil if there are none
	shadow  *shadow            // what is left when another node has the device; nil before
}

// arrivalTime is how long a device that moves between nodes may be without a connection and count as on line.
const arrivalTime = 30 * time.Second

// unsettled is the position of a session that has moved and does not know yet from which on it gets items of the bus.
const unsettled = math.MaxUint64

// claim makes this node the owner of the device and then goes on with attachWith. It refuses first what would be refused afterwards: a
// connection that gets nothing must not take the device from another node. On the loop.
func (m *Manager) claim(a arrival, done func(Attached, error)) {
	if err := m.checkClaim(&a); err != nil {
		done(Attached{}, err)
		return
	}
	step := func(c Claim, err error) {
		err = m.took(a.device, &c, err)
		m.mu.Lock()
		next := m.attempts.endClaim(a.device)
		m.mu.Unlock()
		m.resume(&a, func() {
			if err != nil {
				done(Attached{}, err)
				return
			}
			a.epoch = c.Epoch
			m.attachWith(a, done)
		})
		if next != nil {
			m.config.Owners.Claim(a.device, next)
		}
	}
	m.mu.Lock()
	m.attempts.inTurn(&a)
	first := m.attempts.beginClaim(a.device, step)
	m.mu.Unlock()
	if first {
		m.config.Owners.Claim(a.device, step)
	}
}

// checkClaim returns why a connection would be refused if this node had the device.
func (m *Manager) checkClaim(a *arrival) error {
	if a.options.Admit != nil {
		if err := a.options.Admit(); err != nil {
			return err
		}
	}
	if _, err := m.checkWill(a.device, a.options); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.find(a.device)
	if s == nil && m.sessions.Len() >= m.config.MaxSessions {
		return ErrTooManySessions
	}
	return m.checkOwner(a.device, s, a.options)
}

// took handles the answer to a claim, whose error is err: it makes the session of the device, if the owner before has left one. Without locks.
func (m *Manager) took(device string, c *Claim, err error) error {
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrNotClaimed, err)
	} else if err = m.takeOver(device, c); err == nil && !m.config.Owners.Lives(c.From) {
		err = m.adopt(c.Orphans)
	}
	m.unpark(device, err != nil)
	m.runBacklogs()
	return err
}

// takeOver is took for a claim that was made.
func (m *Manager) takeOver(device string, c *Claim) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.attempts.byDevice[device]
	x.epoch = c.Epoch
	s := m.find(device)
	switch {
	case s != nil:
		s.raise(c.Epoch)
	case c.From != "":
		m.moves.claimed.Add(1)
		x.online = !m.makeClaimed(device, c, time.Time{})
	}
	if x.lost.Epoch <= c.Epoch {
		return nil
	}
	if s = m.find(device); s != nil { // yet another node has the device, and needs the shadow: what the owner before sends on goes through it
		m.lose(s, x.lost)
	}
	return ErrTakenOver
}

// makeClaimed makes a session of what the owner before has left, tells Owners, and reports whether there was a record. If not, the session has
// ended with its connection at the other node. died is when that owner died; zero if it lives. The manager is locked.
func (m *Manager) makeClaimed(device string, c *Claim, died time.Time) (found bool) {
	r := m.store.Record(device)
	if found = c.Found && r != nil; found {
		m.restoreMoved(r, c, died)
	}
	m.config.Owners.Moved(device, *c)
	return found
}

// restoreMoved makes a session from a record. If its device was on line, it is arriving, or has left when the owner died.
func (m *Manager) restoreMoved(r *store.Record, c *Claim, died time.Time) {
	x := &claimed{epoch: c.Epoch, from: c.From, before: c.Before, since: unsettled, moved: time.Now().UnixMilli()}
	switch {
	case r.Left != 0:
	case died.IsZero():
		x.arriving = true
	default:
		r.Left = died.UnixMilli()
		defer m.leftWithNode(r)
	}
	m.restore(r, c.Orphans, x)
}

// leftWithNode says that a device has left because its node died.
func (m *Manager) leftWithNode(r *store.Record) {
	m.presence.add(event{
		Presence: Presence{Device: r.Device, Reason: NodeLost, Time: r.Left},
		session:  r.Session,
	})
}

// NodeLost is the reason of presence events of devices whose node died.
const NodeLost = "node_lost"

// resume runs f on the loop of a connection that has waited, unless the connection has ended, and then ends its attempt in any case.
func (m *Manager) resume(a *arrival, f func()) {
	a.conn.Do(f)
	end := func() {
		m.mu.Lock()
		m.endAttempt(a.device)
		m.mu.Unlock()
		m.runBacklogs()
	}
	if !a.conn.Loop().post(end) {
		end()
	}
}

// endAttempt notes that a connection waits no longer. If it was the last one and the device has no session here, the claim ends. The manager
// is locked.
func (m *Manager) endAttempt(device string) {
	x := m.attempts.end(device)
	if x == nil || m.config.Owners == nil || x.epoch == 0 || x.epoch < x.lost.Epoch || m.find(device) != nil {
		return
	}
	if x.online { // it was on line at the other node, with a session that ended there
		m.presence.add(event{Presence: Presence{Device: device, Reason: NotReturned, Time: time.Now().UnixMilli()}})
	}
	m.config.Owners.Ended(device, x.epoch)
}

// noClaim returns the claim of a session that the node has without one; nil without a cluster.
func (m *Manager) noClaim() *claimed {
	if m.config.Owners == nil {
		return nil
	}
	return new(claimed)
}

// newClaimed returns the claim of a session that begins; nil without a cluster. The manager is locked.
func (m *Manager) newClaimed(a *arrival) *claimed {
	if m.config.Owners == nil {
		return nil
	}
	c := &claimed{epoch: a.epoch}
	if x := m.attempts.byDevice[a.device]; x != nil {
		c.arriving, x.online = x.online, false
	}
	return c
}

// raise gives a session a higher epoch.
func (s *Session) raise(epoch uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claim.epoch = max(s.claim.epoch, epoch)
}

// isArriving reports whether the device counts as on line though it has no connection. The session is locked.
func (s *Session) isArriving() bool { return s.claim != nil && s.claim.arriving }

// NotReturned is the reason of presence events of devices that have left one node for another and have not come.
const NotReturned = "not_returned"

// leaves ends the time in which a device without a connection counts as on line: it has left. The session is locked.
func (s *Session) leaves() {
	s.claim.arriving = false
	s.changed = time.Now().UnixMilli()
	s.manager.presence.addPresence(s, false, NotReturned)
	if s.willDue() <= s.changed {
		s.announceWill()
		s.detachMQTT()
	}
}
