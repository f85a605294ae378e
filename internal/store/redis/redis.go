// Package redis is a store whose sessions are on Redis, where each node of a cluster can take them over. Each device has one owner: the
// node that claimed it last. What the owner writes carries the claim's epoch, and Redis refuses what another has written since: a node
// that lost a device changes nothing of it any more, however late it wakes up.
package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// Options say where a store is, and who hears of it. Its bounds are store.Options.
type Options struct {
	Client rueidis.Client // of the caller, who closes it behind Close
	Link   *Link          // of the client, likewise
	Prefix string         // of all keys: "ll:NAME:"
	Node   string         // the node's name
	Owner  string         // this life of the node: "name/life"
	Number uint16         // of the node, less than 64: epochs of two nodes are never the same

	// Patience is how long Redis may be away before Err says so, fences are refused, and claims fail. 0 means 5 s.
	Patience time.Duration

	// Redirect hands over a message that was pushed for a device that another node has. owner is empty if no node has it; it is this node if it has
	// claimed the device again since. It must not block. done is called once, from any goroutine, when the message is safe, or cannot be.
	Redirect func(device, owner string, m *message.Message, q message.QoS, done func(error))

	// Lost says that another node has a device that this one claimed at an epoch; owner is empty if no node has it. It is called once per claim, from the
	// store's goroutines, with no lock held, and must not block: before a fence is told that had a refused write, and before the state of a new claim is
	// loaded. The caller ends the session and calls Forget.
	Lost func(device, owner string, epoch uint64)

	// Position returns up to where this node knows who wants what, see router.Far. nil always returns 0.
	Position func() uint64

	Log *slog.Logger
}

// Local is the store of what is the node's own.
type Local interface {
	store.Store
	store.Opener
}

// Store is a store.Store. Devices are claimed before their sessions use it.
type Store struct {
	*store.Memory // of the devices that were claimed

	// Static after construction.
	options Options
	bounds  store.Options
	client  rueidis.Client
	local   Local
	set     string // the name of the set of the node's devices
	writer  *writer
	claimer *claimer
	shared  *retained
	stop    context.CancelFunc

	put, safe atomic.Uint64 // values that local was ever given, and those that are safe there
}

var (
	_ store.Store    = (*Store)(nil)
	_ store.Opener   = (*Store)(nil)
	_ store.Medium   = (*writer)(nil)
	_ store.Numberer = (*writer)(nil)
)

// ErrNotOwner says that another node has a device.
var ErrNotOwner = errors.New("store: another node has the device")

// DevicesKey returns the name of the set of the devices whose owner a node is. It may have more of them.
func DevicesKey(prefix, node string) string { return prefix + "{node " + node + "}:d" }

// Open returns a store of no device, with the cluster's retained messages. Sessions are on Redis; what is the node's own is with local, which the
// store closes. It blocks.
func Open(ctx context.Context, bounds store.Options, o Options, local Local) (*Store, error) {
	o.Patience = cmp.Or(o.Patience, 5*time.Second)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	s := &Store{options: o, bounds: bounds, client: o.Client, local: local, set: DevicesKey(o.Prefix, o.Node)}
	if err := s.loadScripts(ctx); err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	s.writer = newWriter(s)
	s.claimer = &claimer{store: s, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	s.shared = newRetained(o, bounds)
	bounds.RetainedLog = s.shared
	s.Memory = store.NewJournaled(bounds, s.writer)
	s.shared.start(s.Memory)
	select {
	case <-s.shared.ready:
	case <-ctx.Done():
		s.shared.close()
		return nil, fmt.Errorf("redis: the retained messages cannot be read: %w", ctx.Err())
	}
	ctx, s.stop = context.WithCancel(context.Background())
	o.Link.OnLoss(s.writer.onLoss)
	go s.writer.run(ctx)
	go s.claimer.run(ctx)
	return s, nil
}

// Put implements store.Store. An orphan's device is known; other values are the node's own.
func (s *Store) Put(space store.Space, key string, value []byte) {
	if space == store.SpaceOrphan && value == nil {
		s.writer.forgetOrphan(key)
		return
	}
	s.local.Put(space, key, value)
	s.put.Add(1)
}

// TakeValues implements store.Opener: values of devices come with their claims.
func (s *Store) TakeValues(space store.Space) (map[string][]byte, error) {
	return s.local.TakeValues(space)
}

// Commit implements store.Store. A fence waits for Redis: for what was written of devices, and of retained messages if there is any on its way; and for
// the node's own store if that has got something.
func (s *Store) Commit(done func(error)) {
	f := &fences{done: done}
	f.waits.Store(1)
	if put := s.put.Load(); s.safe.Load() < put {
		f.waits.Add(1)
		s.local.Commit(func(err error) {
			if err == nil {
				raise(&s.safe, put)
			}
			f.pass(err)
		})
	}
	f.waits.Add(1)
	if !s.shared.commit(f.pass) {
		f.waits.Add(-1)
	}
	s.Memory.Commit(f.pass)
}

// fences is a fence that passes when some others have.
type fences struct {
	done   func(error)
	waits  atomic.Int32 // others
	failed atomic.Pointer[error]
}

// pass notes that one of the others has passed.
func (f *fences) pass(err error) {
	if err != nil {
		f.failed.Store(&err)
	}
	if f.waits.Add(-1) > 0 {
		return
	}
	if failed := f.failed.Load(); failed != nil {
		err = *failed
	}
	f.done(err)
}

// raise sets n to at least v.
func raise(n *atomic.Uint64, v uint64) {
	for was := n.Load(); was < v && !n.CompareAndSwap(was, v); was = n.Load() {
	}
}

// Err implements store.Store.
func (s *Store) Err() error {
	return cmp.Or(s.Memory.Err(), s.shared.err(), s.options.Link.Err(), s.local.Err())
}

// Close implements store.Opener. What Redis does not take within the patience is lost, and Close says so.
func (s *Store) Close() error {
	safe := make(chan error, 1)
	s.Commit(func(err error) { safe <- err })
	err := <-safe
	s.stop()
	s.shared.close()
	<-s.writer.ended
	<-s.claimer.ended
	return errors.Join(err, s.local.Close())
}

// Owner returns the owners of devices as Redis has them, each empty if there is none. It blocks.
func (s *Store) Owner(ctx context.Context, devices []string) ([]string, error) {
	commands := make(rueidis.Commands, len(devices))
	for i, d := range devices {
		state, _ := s.keys(d)
		commands[i] = s.client.B().Hget().Key(state).Field("o").Build()
	}
	owners := make([]string, len(devices))
	for i, r := range s.client.DoMulti(ctx, commands...) {
		owner, err := r.ToString()
		if err != nil && !rueidis.IsRedisNil(err) {
			return nil, err
		}
		owners[i] = owner
	}
	return owners, nil
}

// Progress returns how many operations there were, and how many of them Redis has.
func (s *Store) Progress() (appended, applied uint64) {
	appended, applied = s.writer.Progress()
	changes, written := s.shared.progress()
	return appended + changes, applied + written
}
