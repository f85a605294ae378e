package session

import (
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/store"
)

// restoreAll makes the sessions that the store has a record of. Messages may come, and
// sessions expire, meanwhile.
func (m *Manager) restoreAll() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var failure error
	err := m.store.Records(func(r *store.Record) bool {
		failure = m.restore(r)
		return failure == nil
	})
	if failure != nil {
		return failure
	}
	return err
}

// restore makes the session of a device that is away again, from its record. One whose
// device was connected is as one whose device has just left.
func (m *Manager) restore(r *store.Record) error {
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
	}
	s.restoreMQTT(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.openQueue(); err != nil {
		return err
	}
	s.queue.Rewind()
	s.tidy()
	m.add(s)
	for _, sub := range s.subscriptions {
		m.router.Subscribe(sub.Filter, s, sub.QoS)
	}
	m.expirer.set(s, s.due())
	return nil
}

// record is what restore needs.
func (s *Session) record() *store.Record {
	r := &store.Record{
		Device:        s.device,
		Session:       s.id,
		Expiry:        time.Duration(s.expiry) * time.Second,
		Left:          s.changed,
		Missed:        uint64(s.missed),
		Subscriptions: s.subscriptions,
	}
	if s.mqtt != nil {
		r.Will, r.Packets = s.mqtt.will, s.mqtt.record()
	}
	return r
}

// failures remembers what the store could not do when nobody waited for its answer.
type failures struct {
	count atomic.Uint64
	last  atomic.Pointer[error]
}

// note remembers an error of the store, if it is one.
func (m *Manager) note(err error) {
	if err != nil {
		last := err
		m.failures.count.Add(1)
		m.failures.last.Store(&last)
	}
}

// StoreFailures returns how many records and queues the store failed to save or forget, and
// its last error. The sessions go on without it; a restart may find them as they were.
func (m *Manager) StoreFailures() (n uint64, last error) {
	if e := m.failures.last.Load(); e != nil {
		last = *e
	}
	return m.failures.count.Load(), last
}
