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

// This file has all calls of store methods that may block. They run at start and on workers.

// ErrNotOpened refuses a device because the store cannot open its queue.
var ErrNotOpened = errors.New("the queue of the device cannot be read")

var errManyOpen = errors.New("too many devices wait for their queues")

const (
	openAtOnce  = 16      // workers that open queues
	openWaiting = 1 << 17 // devices that wait for a worker
)

// opener opens the queues of devices that connect.
type opener struct {
	store   store.Opener
	workers *reactor.Workers
}

func newOpener(o store.Opener) opener {
	return opener{o, reactor.NewWorkers(openAtOnce, openWaiting)}
}

// open makes a worker open the queue of the device and then call done. If too many devices wait, it calls done at
// once.
func (o *opener) open(device string, done func(error)) {
	if !o.workers.Do(func() { done(o.store.Open(device)) }) {
		done(errManyOpen)
	}
}

// attachOpened is Attach for a device whose queue is not open. Once it is open, attachOpened continues by a post on
// the connection's loop. If the store has closed the queue again by then, Attach opens it again.
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

// NewManager makes a manager with the sessions of which the store has records. o is the blocking side of s.
func NewManager(config Config, r *router.Router, s store.Store, o store.Opener) (*Manager, error) {
	m := &Manager{config: config.WithDefaults(), router: r, store: s, durable: s.Durable(), opener: newOpener(o), gate: openGate{}}
	m.tooManyFilters = wire.Error{Code: CodeTooManyFilters, Reason: fmt.Sprintf("a packet may have %d filters", m.config.MaxFilters)}
	m.tooManySubscriptions = wire.Error{Code: CodeTooManySubscriptions, Reason: fmt.Sprintf("a device may have %d subscriptions", m.config.MaxSubscriptions)}
	byDevice := func(a, b *Session) bool { return a.device < b.device }
	m.sessions = btree.NewBTreeGOptions(byDevice, btree.Options{NoLocks: true})
	m.presence.publish = func(e *message.Message) {
		_, _ = r.Publish(e, nil) // no publisher waits for the answer; the router counts what is dropped
	}
	m.presence.do, m.redeliveries.do = m.presence.announce, m.redeliver
	m.presence.wanted, m.presence.account = r.Wanted, r.Account()
	m.expirer.end, m.emptyQueues.reclaim = m.expire, m.reclaim
	m.ackTimeouts.check, m.ackTimeouts.every = m.checkAckTimeouts, max(m.config.AckTimeout/8, time.Millisecond)
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

// restoreAll makes the sessions of which the store has records. Meanwhile messages may arrive and sessions expire.
func (m *Manager) restoreAll() error {
	return m.opener.store.Records(func(r *store.Record) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.restore(r)
		return true
	})
}

// Close stops the timers, and waits until queued messages and presence events are delivered and published.
func (m *Manager) Close() {
	defer m.opener.workers.Close()
	defer m.presence.wait()
	defer m.redeliveries.wait()
	defer m.admitting.Wait()
	m.expirer.stop()
	m.emptyQueues.stop()
	m.ackTimeouts.stop()
}
