package session

import (
	"errors"
	"fmt"
	"time"

	"github.com/tidwall/btree"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
)

// Here is all that calls what may block in a store: at start, and on workers.

// ErrNotOpened refuses a device whose queue the store cannot open.
var ErrNotOpened = errors.New("what the device is owed cannot be read")

var errManyOpen = errors.New("too many devices wait for it")

const (
	openAtOnce  = 16      // workers that open queues
	openWaiting = 1 << 17 // devices that wait for one
)

// opener opens the queues of devices that come.
type opener struct {
	store   store.Opener
	workers *reactor.Workers
}

func newOpener(o store.Opener) opener {
	return opener{o, reactor.NewWorkers(openAtOnce, openWaiting)}
}

// open calls done when a worker has opened the device's queue, on that worker, or at once when too many wait.
func (o *opener) open(device string, done func(error)) {
	if !o.workers.Do(func() { done(o.store.Open(device)) }) {
		done(errManyOpen)
	}
}

// attachOpened is Attach for a device whose queue is not open. It goes on by a post on the connection's loop; if the store has
// closed the queue again by then, it is opened again.
func (m *Manager) attachOpened(device string, l *Link, conn Conn, o Options, done func(Attached, error)) {
	m.opener.open(device, func(err error) {
		conn.Do(func() {
			if err != nil {
				done(Attached{}, fmt.Errorf("%w: %w", ErrNotOpened, err))
				return
			}
			m.Attach(device, l, conn, o, done)
		})
	})
}

// NewManager makes a manager with the sessions that the store has a record of. o is the other side of s.
func NewManager(config Config, r *router.Router, s store.Store, o store.Opener) (*Manager, error) {
	m := &Manager{config: config.WithDefaults(), router: r, store: s, durable: s.Durable(), opener: newOpener(o), gate: openGate{}}
	m.tooManyFilters = wire.Error{Code: CodeTooManyFilters, Reason: fmt.Sprintf("a packet may have %d filters", m.config.MaxFilters)}
	m.tooManySubscriptions = wire.Error{Code: CodeTooManySubscriptions, Reason: fmt.Sprintf("a device may have %d subscriptions", m.config.MaxSubscriptions)}
	byDevice := func(a, b *Session) bool { return a.device < b.device }
	m.sessions = btree.NewBTreeGOptions(byDevice, btree.Options{NoLocks: true})
	m.presence.publish = func(e *message.Message) {
		_, _ = r.Publish(e, nil) // nobody to tell: what is not taken is counted
	}
	m.presence.do, m.orphans.do = m.presence.announce, m.rehome
	m.presence.wanted, m.presence.account = r.Wanted, r.Account()
	m.expirer.end, m.lingering.reclaim = m.expire, m.reclaim
	m.laggards.look, m.laggards.every = m.lookAtLaggards, max(m.config.AckTimeout/8, time.Millisecond)
	var err error
	if m.owners.prefixes, err = newPrefixes(&m.config); err == nil {
		err = m.restoreAll()
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// restoreAll makes the sessions that the store has a record of. Messages may come, and
// sessions expire, meanwhile.
func (m *Manager) restoreAll() error {
	return m.opener.store.Records(func(r *store.Record) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.restore(r)
		return true
	})
}

// Close stops the expiry of sessions, and waits for what is being published or delivered.
func (m *Manager) Close() {
	defer m.opener.workers.Close()
	defer m.presence.wait()
	defer m.orphans.wait()
	defer m.admitting.Wait()
	m.expirer.stop()
	m.lingering.stop()
	m.laggards.stop()
}
