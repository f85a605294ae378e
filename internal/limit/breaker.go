package limit

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sony/gobreaker/v2"
)

// Open refuses a call to a remote part that has failed: nothing was sent.
var Open = &Refusal{"breaker_open", "the remote part has failed lately and is left alone for a while"}

// BreakerState is whether calls go through.
type BreakerState uint8

const (
	BreakerClosed   = BreakerState(gobreaker.StateClosed)   // they do
	BreakerHalfOpen = BreakerState(gobreaker.StateHalfOpen) // a few do, to probe
	BreakerOpen     = BreakerState(gobreaker.StateOpen)     // none do
)

func (s BreakerState) String() string {
	return strings.ReplaceAll(gobreaker.State(s).String(), "-", "_")
}

// Breaker stops calling a remote part that fails, and tries a few calls after a while.
// All methods are safe from any goroutine.
type Breaker struct {
	// Static after construction.
	name    string
	breaker *gobreaker.CircuitBreaker[struct{}]

	// Safe from any goroutine. gobreaker's own counts start again with every state.
	successes, failures, refused, opened atomic.Uint64
}

// NewBreaker returns a closed breaker of that name. Those of Breakers are made by Get.
func NewBreaker(name string, c BreakerConfig) *Breaker {
	c = c.WithDefaults()
	b := &Breaker{name: name}
	b.breaker = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        name,
		MaxRequests: uint32(c.Probes),
		Timeout:     c.Pause,
		ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= uint32(c.Failures) },
		IsExcluded:  leftByCaller,
		OnStateChange: func(_ string, _, to gobreaker.State) {
			if to == gobreaker.StateOpen {
				b.opened.Add(1)
			}
		},
	})
	return b
}

// leftByCaller tells that a call ended because nobody wants it any more, which says
// nothing about the remote part. A deadline does.
func leftByCaller(err error) bool { return errors.Is(err, context.Canceled) }

// Do runs call and returns its error, which counts as a failure of the remote part, so an
// answer that is no to the request must not be one; or it fails with Open.
func (b *Breaker) Do(call func() error) error {
	ran := false
	_, err := b.breaker.Execute(func() (struct{}, error) {
		ran = true
		return struct{}{}, call()
	})
	switch {
	case !ran:
		b.refused.Add(1)
		return Open
	case err == nil:
		b.successes.Add(1)
	case !leftByCaller(err):
		b.failures.Add(1)
	}
	return err
}

// Name is what tells b from others in metrics and logs.
func (b *Breaker) Name() string { return b.name }

// State tells whether calls go through.
func (b *Breaker) State() BreakerState { return BreakerState(b.breaker.State()) }

// BreakerStats is what became of a breaker's calls since the start.
type BreakerStats struct {
	Successes, Failures uint64
	Refused             uint64 // calls that were not made
	Opened              uint64 // times that the breaker opened
}

// Stats tells what became of b's calls.
func (b *Breaker) Stats() BreakerStats {
	return BreakerStats{b.successes.Load(), b.failures.Load(), b.refused.Load(), b.opened.Load()}
}

// Breakers are those of a process, for who reports their state. The zero value works. All
// methods are safe from any goroutine.
type Breakers struct {
	mu   sync.Mutex
	list []*Breaker // in order of name
}

// Get returns the breaker of that name, which the first call makes.
func (s *Breakers) Get(name string, c BreakerConfig) *Breaker {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := slices.BinarySearchFunc(s.list, name, func(b *Breaker, name string) int {
		return strings.Compare(b.name, name)
	})
	if !found {
		s.list = slices.Insert(s.list, i, NewBreaker(name, c))
	}
	return s.list[i]
}

// Each yields the breakers in order of name.
func (s *Breakers) Each(yield func(*Breaker) bool) {
	s.mu.Lock()
	list := slices.Clone(s.list)
	s.mu.Unlock()
	for _, b := range list {
		if !yield(b) {
			return
		}
	}
}
