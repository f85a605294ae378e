package service

import "sync"

// budget bounds repetitions to a share of the calls, so that a service that is down does not get more calls than one that is
// well. Calls that were not repeated are saved up, for a while.
type budget struct {
	percent int

	mu    sync.Mutex
	saved int // hundredths of a repetition
}

const (
	repetition = 100
	mostSaved  = 100 * repetition
)

// newBudget has some repetitions at first, for services that are called rarely.
func newBudget(percent int) budget { return budget{percent: percent, saved: 10 * repetition} }

// earn notes a call.
func (b *budget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.saved = min(b.saved+b.percent, mostSaved)
}

// spend takes a repetition, and reports whether there was one.
func (b *budget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.saved < repetition {
		return false
	}
	b.saved -= repetition
	return true
}
