package limit

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// QueueFull refuses who would wait for a Semaphore behind too many others.
var QueueFull = &Refusal{"queue_full", "too many wait already; try again"}

// Semaphore lets so many work at once, in the order in which they came, and bounds how
// many wait: what x/sync's leaves open. All methods are safe from any goroutine.
type Semaphore struct {
	// Static after construction.
	slots *semaphore.Weighted
	line  int64

	// Safe from any goroutine.
	working, waiting atomic.Int64
	refused          atomic.Uint64
}

// NewSemaphore lets slots work while line wait.
func NewSemaphore(slots, line int) *Semaphore {
	return &Semaphore{slots: semaphore.NewWeighted(int64(slots)), line: int64(line)}
}

// Acquire blocks until there is a slot, so it is not for loops. It fails with QueueFull,
// or with ctx's error. Who got nil calls Release.
func (s *Semaphore) Acquire(ctx context.Context) error {
	if !s.slots.TryAcquire(1) {
		if err := s.wait(ctx); err != nil {
			return err
		}
	}
	s.working.Add(1)
	return nil
}

func (s *Semaphore) wait(ctx context.Context) error {
	defer s.waiting.Add(-1)
	if s.waiting.Add(1) > s.line {
		s.refused.Add(1)
		return QueueFull
	}
	return s.slots.Acquire(ctx, 1)
}

// Release undoes an Acquire that returned nil.
func (s *Semaphore) Release() {
	s.working.Add(-1)
	s.slots.Release(1)
}

// SemaphoreStats is how busy a Semaphore is.
type SemaphoreStats struct {
	Working, Waiting int    // now
	Refused          uint64 // since the start
}

// Stats tells how busy s is.
func (s *Semaphore) Stats() SemaphoreStats {
	return SemaphoreStats{int(s.working.Load()), int(s.waiting.Load()), s.refused.Load()}
}
