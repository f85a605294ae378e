package session

import "github.com/longline/longline/internal/store"

// What may block in a store is called here alone.

// restoreAll makes the sessions that the store has a record of. Messages may come, and
// sessions expire, meanwhile.
func (m *Manager) restoreAll(o store.Opener) error {
	return o.Records(func(r *store.Record) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.restore(r)
		return true
	})
}
