package session

import (
	"time"

	"github.com/longline/longline/internal/store"
)

// durable reports whether the store has a record of the session: if the session outlives its connection, and the store
// the process. The session is locked.
func (s *Session) durable() bool { return s.manager.durable && s.expiry > 0 }

// save gives the record of the session to the store, if the session is durable. The session is locked.
func (s *Session) save() { s.saveAfter(s.expiry) }

// saveAfter is save after the expiry has changed; expiry is the old one. A session that no longer outlives its
// connection has to replace its record, too.
func (s *Session) saveAfter(expiry uint32) {
	if s.manager.durable && max(expiry, s.expiry) > 0 {
		s.manager.store.Save(s.record())
	}
}

// record returns what restore needs.
func (s *Session) record() *store.Record {
	r := &store.Record{
		Device:        s.device,
		Session:       s.id,
		Expiry:        time.Duration(s.expiry) * time.Second,
		Missed:        uint64(s.missed),
		Subscriptions: s.subscriptions,
	}
	if s.link == nil && !s.isArriving() {
		r.Left = s.changed
	}
	if s.mqtt != nil {
		r.Will = s.mqtt.will
	}
	return r
}

// isKept reports whether the store has a record of the session, as long as it is not saved again: also of one whose expiry has become
// 0. The session is locked.
func (s *Session) isKept() bool {
	if !s.manager.durable {
		return false
	}
	s.openQueue()
	defer s.reclaimQueue()
	return s.queue.Durable()
}

// restore makes the session of a device from its record. If the device was connected when the process ended, the
// session is treated as if the device had left now. A will that is an orphan was due already. claim is nil without a cluster. The manager is
// locked.
func (m *Manager) restore(r *store.Record, orphans map[string][]byte, claim *claimed) {
	left := r.Left
	if left == 0 {
		left = time.Now().UnixMilli()
	}
	s := &Session{
		manager:       m,
		device:        r.Device,
		id:            r.Session,
		created:       uint32(left / 1000),
		changed:       left,
		expiry:        uint32(r.Expiry / time.Second),
		missed:        uint32(r.Missed),
		subscriptions: r.Subscriptions,
		special:       anySpecial(r.Subscriptions),
		claim:         claim,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	will := r.Will
	if will != nil && orphans[orphanKey(will.Message, "")] != nil {
		will = nil
	}
	s.restoreMQTT(r, will)
	s.openQueue()
	if n := s.queue.Len(); n > 0 {
		s.down().Found = uint64(n)
	}
	s.reclaimQueue()
	m.add(s)
	for _, sub := range s.subscriptions {
		m.router.Subscribe(sub.Filter, s, sub.QoS)
	}
	if will != r.Will {
		s.save()
	}
	m.expirer.set(s, s.due())
}
