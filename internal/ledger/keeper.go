package ledger

import (
	"context"
	"encoding/json"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

// Options are what a Keeper needs.
type Options struct {
	// Sources add the parts of a node's ledger, in order. They may take long, and hold locks for short times. Two calls
	// do not overlap. An error means that the context has ended.
	Sources []func(context.Context, *Node) error

	Saved []byte            // what Save got last in the life before; nil if there is none
	Save  func(life []byte) // keeps a ledger for the next life of the node; nil if nothing survives the process
	Log   *slog.Logger
}

// every is the shortest pause between two sums of the Keeper itself, each of which it saves. The pause is also share
// times as long as the last sum took, so that a node with very many devices does not spend its time on sums.
const (
	every = 10 * time.Second
	share = 200
)

// Keeper sums up the ledger of a node: when it is asked, and once a while. It saves the sums for the next life. Its methods
// are safe from any goroutine, and are called with no lock of a source held.
type Keeper struct {
	// Static after construction.
	options Options
	since   time.Time
	earlier *Earlier
	stop    chan struct{}
	stopped sync.WaitGroup

	last atomic.Pointer[sum]

	turn  chan struct{} // has a token while nobody sums
	saved *sum          // what was saved last. Owned by the goroutine of run, and by Close behind it
}

// sum is a ledger and when it was begun.
type sum struct {
	node  *Node
	began time.Time
}

// Start begins a ledger, when the receivers have found what waited for them.
func Start(o Options) *Keeper {
	k := &Keeper{options: o, since: time.Now(), stop: make(chan struct{}), turn: make(chan struct{}, 1)}
	k.turn <- struct{}{}
	found, _ := k.Sum(context.Background()) // only an ended context is an error
	if o.Save != nil {
		k.begin(found)
	}
	k.stopped.Go(k.run)
	return k
}

// begin takes over the ledgers of earlier lives.
func (k *Keeper) begin(found *Node) {
	k.earlier = &Earlier{Since: k.since}
	before, err := parse(k.options.Saved)
	switch {
	case err != nil:
		k.options.Log.Error("the ledger of earlier lives cannot be read: it begins anew", "error", err)
	case before != nil:
		k.earlier = before.over(found.Received().Found, k.since)
	}
	if before == nil {
		k.earlier.Carried = found.Received().Found
		k.earlier.Unknown = -int64(k.earlier.Carried)
	}
	found.Earlier = k.earlier
	k.save(k.last.Load(), false)
}

// Sum returns the ledger of the node as it is now. It looks at receivers one after the other, so each of them was as shown at
// some moment between the call and the return. Callers that come together share a sum.
func (k *Keeper) Sum(ctx context.Context) (*Node, error) {
	asked := time.Now()
	select {
	case <-k.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { k.turn <- struct{}{} }()
	if last := k.last.Load(); last != nil && last.began.After(asked) {
		return last.node, nil
	}
	s := &sum{&Node{Since: k.since, Earlier: k.earlier}, time.Now()}
	for _, add := range k.options.Sources {
		if err := add(ctx, s.node); err != nil {
			return nil, err
		}
	}
	k.last.Store(s)
	return s.node, nil
}

// Last returns the last sum, which may be some minutes old.
func (k *Keeper) Last() *Node { return k.last.Load().node }

// run sums once a while, until stop is closed.
func (k *Keeper) run() {
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-k.stop:
			return
		case <-timer.C:
		}
		began := time.Now()
		_, _ = k.Sum(context.Background())
		timer.Reset(max(every, share*time.Since(began)))
		k.save(k.last.Load(), false)
	}
}

// save gives a sum to Options.Save, if it says more than the last one.
func (k *Keeper) save(s *sum, ended bool) {
	if k.options.Save == nil || !ended && k.saved != nil && reflect.DeepEqual(s.node, k.saved.node) {
		return
	}
	k.saved = s
	value, err := json.Marshal(life{version, k.earlier, k.since, s.began, ended, s.node.Received(), s.node.Published()})
	if err != nil {
		return // numbers, labels and times always marshal
	}
	k.options.Save(value)
}

// Close saves the last sum, when the receivers and publishers have ended.
func (k *Keeper) Close() {
	close(k.stop)
	k.stopped.Wait()
	_, _ = k.Sum(context.Background())
	k.save(k.last.Load(), true)
}
