// Package redis is a store whose sessions are on Redis, where each node of a cluster can take them over. Each device has one owner: the
// node that claimed it last. What the owner writes carries the claim's epoch, and Redis refuses what another has written since: a node
// that lost a device changes nothing of it any more, however late it wakes up.
package redis

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// Options say where a store is, and who hears of it. Its bounds are store.Options.
type Options struct {
	Client rueidis.Client // of the caller, who closes it behind Close
	Prefix string         // of all keys: "ll:NAME:"
	Node   string         // the node's name
	Owner  string         // this life of the node: "name/life"

	// Patience is how long Redis may be away before Err says so, fences are refused, and claims fail. 0 means 5 s.
	Patience time.Duration

	// Redirect hands over a message that was pushed for a device that another node has. owner is empty if no node has it. It must not block. done is
	// called once, from any goroutine, when the message is safe, or cannot be.
	Redirect func(device, owner string, m *message.Message, q message.QoS, done func(error))

	// Lost says that another node has a device that this one had; owner is empty if no node has it. It is called once per claim, from the store's
	// goroutine, with no lock held, and must not block. The caller ends the session and calls Forget.
	Lost func(device, owner string)

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
	local   Local

	mu sync.Mutex
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Opener = (*Store)(nil)
)

// Claimed is what became of a claim.
type Claimed struct {
	Epoch  uint64
	From   string  // the owner before; empty if there was none, or it was this one
	Found  bool    // the device has a record
	Values []Value // of the device, see store.Store.PutFor; none if From is empty because this was the owner
}

// Value is what PutFor was given by the owner before.
type Value struct {
	Space store.Space
	Key   string
	Value []byte
}

// ErrNotOwner says that a device has another owner than was expected.
var ErrNotOwner = errors.New("store: another node has the device")

// Open returns a store of no device. Sessions are on Redis, whatever is the node's own is with local, which the store closes.
func Open(bounds store.Options, o Options, local Local) (*Store, error) {
	return &Store{Memory: store.NewMemory(bounds), options: o, local: local}, nil
}

// Claim makes this node the owner of a device. done is called once, from any goroutine, and must not block; the store has the device's state by
// then. If the node was the owner before, its state stays as it is. Claim does not block.
func (s *Store) Claim(device string, done func(Claimed, error)) {
	done(Claimed{}, errors.ErrUnsupported)
}

// Adopt is Claim, unless another than dead owns the device: then the error is ErrNotOwner.
func (s *Store) Adopt(device, dead string, done func(Claimed, error)) {
	done(Claimed{}, errors.ErrUnsupported)
}

// Forget removes from memory what the store has of a device that another node has. Nothing is written. The session calls it, under its lock, as it
// calls Drop.
func (s *Store) Forget(device string) {}

// Disown ends the claim of a device that has no session and no values here. Nobody owns it then. It does not block.
func (s *Store) Disown(device string) {}

// Owner returns the owners of devices as Redis has them, each empty if there is none. It blocks.
func (s *Store) Owner(ctx context.Context, devices []string) ([]string, error) {
	return nil, errors.ErrUnsupported
}
