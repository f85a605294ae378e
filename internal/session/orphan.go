package session

import (
	"fmt"
	"maps"
	"slices"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// An orphan is a message that its session has no more, and that no other receiver has yet: one that came by a share and goes to
// another member, or a will that is due. It is on its way for a moment only, but a kill in that moment must not lose it. So the
// store keeps it, under a key in SpaceOrphan.
//
// No kill makes two of one:
//   - it leaves a queue and becomes an orphan in one operation, and so when another queue gets it (store.Queue.Remove);
//   - a will that is an orphan is nobody's will any more, also if its session's record still has it (Manager.restore);
//   - that all receivers have a will is noted behind them and before the fence (router.Publisher.Note).
//
// What remains: a kill may meet a will between two of its receivers, and then those before it get it twice.

// orphanKey returns the key for m, which is owned: its ID, and for a copy that came by a share the device that had it, and the share.
func orphanKey(m *message.Message, device string) string {
	if share := router.ShareOf(m); share != "" {
		return store.OrphanKey(m.ID, device, share)
	}
	return fmt.Sprintf("%014x", m.ID)
}

// adopt queues the orphans that the store has kept, in the order of their IDs.
func (m *Manager) adopt(orphans map[string][]byte) error {
	for _, key := range slices.Sorted(maps.Keys(orphans)) {
		found, err := message.ParseRecord(orphans[key])
		switch {
		case err != nil:
			return fmt.Errorf("orphan %q: %w", key, err)
		case router.ShareOf(found) == "":
			m.presence.addWill(found, key)
		default:
			found.Delivery.Orphan = key
			m.router.FindsBetween(1)
			m.redeliveries.add(redelivery{held: router.Held{Message: found, QoS: found.QoS}, home: m.homeOf(key, found.Delivery.Share)})
		}
	}
	return nil
}

// homeOf returns the session that had an orphan; nil if it has ended, or has left the share.
func (m *Manager) homeOf(key, share string) *Session {
	s := m.session(store.OrphanHome(key))
	if s == nil || !slices.ContainsFunc(s.subscriptions, func(sub topic.Subscription) bool { return sub.Filter == share }) {
		return nil
	}
	return s
}

// publish publishes a presence event, or a will that the store keeps under a key. No publisher waits for the answer; the router
// counts what is dropped. With an error the store still keeps the will; with router.ErrStore nobody has the message.
func (m *Manager) publish(e *message.Message, orphan string) error {
	if orphan == "" {
		_, err := m.router.Publish(e, nil)
		return err
	}
	noted := func() bool {
		m.forgetOrphan(e, orphan)
		return false // if that is lost, the will is published again
	}
	refused := func(err error) {
		if err != nil {
			m.forgetOrphan(e, orphan)
		}
	}
	_, err := m.router.PublishFor(e, router.Publisher{Note: noted, Done: refused})
	return err
}

// forgetOrphan makes the store forget a will that it keeps under a key.
func (m *Manager) forgetOrphan(will *message.Message, key string) {
	m.store.PutFor(will.Source, store.SpaceOrphan, key, nil)
}
