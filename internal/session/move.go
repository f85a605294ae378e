package session

import (
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/wire"
)

// moves counts sessions that came and went by the cluster. Safe from any goroutine.
type moves struct{ claimed, adopted, lost, sent, passed, asked, unheld atomic.Uint64 }

// Moves says how many sessions came and went by the cluster.
type Moves struct {
	Claimed, Adopted uint64 // devices of other nodes that connected here; that were taken because their node died
	Lost             uint64 // devices that other nodes have taken
	Sent             uint64 // devices that were asked to go to another node, and went
	Passed           uint64 // messages that shadows passed on
	Asked            uint64 // publications about which the owner before was asked
	Unheld           uint64 // publications that had to wait for the lease of the node
	Shadows          int    // how many there are
	ShadowsCut       uint64 // how many ended early, because there were too many
}

// Moves returns the counts.
func (m *Manager) Moves() Moves {
	x := &m.moves
	n, cut := m.shadows.count()
	return Moves{x.claimed.Load(), x.adopted.Load(), x.lost.Load(), x.sent.Load(), x.passed.Load(), x.asked.Load(), x.unheld.Load(), n, cut}
}

// Settle tells the session of a claim the position from which on it takes the items of the bus for its subscriptions itself. For a session
// of another epoch nothing changes. If the session is a shadow already, it is told.
func (m *Manager) Settle(device string, epoch, since uint64) {
	s := m.session(device)
	if s == nil || !s.settle(epoch, since) {
		for _, s := range m.shadows.of(device) {
			s.settle(epoch, since)
		}
	}
}

// settle is Settle for one session, and reports whether it has the epoch.
func (s *Session) settle(epoch, since uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claim == nil || s.claim.epoch != epoch {
		return false
	}
	s.claim.since = since
	return true
}

// Lose says that another node has a device. The connection is closed; the session is forgotten, and leaves no will, no
// offline event and nothing in the store. It stays as a shadow until Unshadow, which hands what comes for its subscriptions to Owners.Forward. Called again with Since, Lose tells the move to the shadow. It reports whether there was a
// session of a lower epoch. It is called without locks.
func (m *Manager) Lose(device string, to Move) (was bool) {
	m.mu.Lock()
	m.attempts.lose(device, to)
	if s := m.find(device); s != nil {
		was = m.lose(s, to)
	}
	m.mu.Unlock()
	if !was {
		m.shadows.learn(device, to)
	}
	m.runBacklogs()
	return was
}

// lose is Lose for a session, and reports whether another node has it. The manager is locked.
func (m *Manager) lose(s *Session, to Move) bool {
	s.lock()
	defer s.unlock()
	if s.claim == nil || s.claim.epoch >= to.Epoch {
		return false
	}
	m.moves.lost.Add(1)
	if s.link != nil {
		s.link.conn.Close(whyLost(to))
		m.gate.ReleaseDevice(s.device)
		s.forgetConnection()
		s.detachMQTT()
	}
	s.ended, s.claim.arriving = true, false
	m.ackTimeouts.clear(s)
	m.expirer.cancel(s)
	m.sessions.Delete(s)
	m.searches.end(s)
	m.taken.forget(s)
	s.shade(to)
	s.forgetMQTT()
	s.forgetQueue()
	m.owners.count(s, -1, 0)
	m.store.Forget(s.device)
	m.endLedger(s)
	return true
}

// whyLost returns what a device is told whose session another node has. Only one that has a connection there must not come back: a node
// also loses devices that others adopt, or claim for a connection that has ended meanwhile.
func whyLost(to Move) *wire.Close {
	if to.Connected {
		return wire.CloseTakenOver
	}
	return wire.CloseMoved.Because("another node has the device; retry after 1s")
}

// Connected reports whether the device has a connection here, see Move.Connected.
func (m *Manager) Connected(device string) bool {
	s := m.session(device)
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link != nil
}

// forgetMQTT forgets the will, which the new owner has, and packet identifiers. What the shadow may be asked about publications of QoS 2
// it keeps.
func (s *Session) forgetMQTT() {
	if s.mqtt == nil {
		return
	}
	s.setWill(nil)
	s.claim.shadow.keepReceived(s.mqtt)
	s.forgetReceived()
	s.mqtt = nil
}

// forgetQueue forgets the queue of a session that another node has, and gives the messages that wait for room to that node. What the store
// has of the queue it has as well; what it has not goes with the session.
func (s *Session) forgetQueue() {
	if line := s.waiting; line != nil {
		s.waiting = nil
		s.down().MovedOut += uint64(line.Len())
		s.manager.redeliveries.add(redelivery{line: line, home: s})
	}
	if s.queue == nil {
		return
	}
	s.drop(router.Expired, s.queue.TakeExpired())
	if n := s.queue.Len(); s.queue.Durable() {
		s.down().MovedOut += uint64(n)
	} else {
		s.drop(router.SessionEnded, n)
	}
	s.manager.store.Forget(s.device) // empties the queue
	s.queue.Close()
	s.queue = nil
}

// Unshadow ends the shadow that the move of an epoch has left.
func (m *Manager) Unshadow(device string, epoch uint64) { m.shadows.finish(device, epoch) }

// Adopt makes the session of a device of a node that died: its device is away since then. It is called without locks, by
// the store that has just claimed the device.
func (m *Manager) Adopt(device string, c Claim, died time.Time) error {
	defer m.runBacklogs()
	if !m.adoptSession(device, &c, died) {
		return nil
	}
	return m.adopt(c.Orphans)
}

// adoptSession is Adopt without the orphans, and reports whether the device was not here.
func (m *Manager) adoptSession(device string, c *Claim, died time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.find(device) != nil {
		return false
	}
	if x := m.attempts.byDevice[device]; x != nil {
		x.epoch = max(x.epoch, c.Epoch)
	}
	m.moves.adopted.Add(1)
	if !m.makeClaimed(device, c, died) {
		m.presence.add(event{Presence: Presence{Device: device, Reason: NodeLost, Time: died.UnixMilli()}})
		if m.attempts.byDevice[device] == nil {
			m.config.Owners.Ended(device, c.Epoch)
		}
	}
	return true
}

// goesElsewhere is endConnection for a device that was asked to go to another node: it counts as on line until it comes there, or arrivalTime has
// passed. The session and the manager are locked.
func (s *Session) goesElsewhere() {
	s.manager.moves.sent.Add(1)
	s.forgetConnection()
	s.detachMQTT()
	s.claim.arriving, s.claim.moved = true, s.changed
}

// Movable reports whether the device may be asked to go to another node without losing time: nothing is on its way to it or from it. since is
// when it connected, in Unix milliseconds. On the loop.
func (l *Link) Movable() (since int64, ok bool) {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	ok = s.link == l && s.next == nil && s.waiting == nil && (s.queue == nil || s.queue.Empty()) && len(s.calls) == 0 && s.serviceCalls == 0 &&
		l.answers == nil && (s.mqtt == nil || len(s.mqtt.held.packets)+len(s.mqtt.routed)+len(s.mqtt.delayed) == 0)
	return s.changed, ok
}
