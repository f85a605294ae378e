package storetest

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/store"
)

// Journal is a store.Journal in memory, which can be cut off where a kill might cut it.
type Journal struct {
	delay time.Duration // from Commit until the fence passes

	mu     sync.Mutex
	ops    [][]byte
	safe   int // operations before the last fence that passed
	fences int // how many were asked for
}

// NewJournal returns an empty journal whose fences pass after a delay.
func NewJournal(delay time.Duration) *Journal { return &Journal{delay: delay} }

// Append implements store.Journal.
func (j *Journal) Append(p []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ops = append(j.ops, bytes.Clone(p))
}

// Commit implements store.Journal.
func (j *Journal) Commit(done func(error)) {
	j.mu.Lock()
	j.fences++
	n := len(j.ops)
	j.mu.Unlock()
	pass := func() {
		j.mu.Lock()
		j.safe = max(j.safe, n)
		j.mu.Unlock()
		done(nil)
	}
	if j.delay == 0 {
		go pass()
	} else {
		time.AfterFunc(j.delay, pass)
	}
}

// Err implements store.Journal.
func (j *Journal) Err() error { return nil }

// Len is the number of operations.
func (j *Journal) Len() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.ops)
}

// Safe is the number of operations that a kill leaves in any case.
func (j *Journal) Safe() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.safe
}

// Kill returns the journal of which a kill has left the first n operations.
func (j *Journal) Kill(n int) *Journal {
	j.mu.Lock()
	defer j.mu.Unlock()
	return &Journal{delay: j.delay, ops: slices.Clone(j.ops[:n]), safe: n}
}

// Open returns the store that the operations make. With twice, those from twice on are applied again, as a
// store does that has kept its state and not the place in the journal.
func (j *Journal) Open(t testing.TB, o store.Options, twice ...int) *store.Memory {
	t.Helper()
	s := store.NewJournaled(o, j)
	ops := slices.Clone(j.ops)
	for _, from := range twice {
		ops = append(ops, j.ops[from:]...)
	}
	for i, op := range ops {
		if err := s.Apply(bytes.Clone(op)); err != nil {
			t.Fatalf("operation %d of %d: %v", i, len(j.ops), err)
		}
	}
	return s
}

// Slow is a store on a journal that takes its time, as a disk does: to open a device's queue, the first time, and for each fence.
type Slow struct {
	*store.Memory
	delay time.Duration

	mu     sync.Mutex
	opened map[string]bool
}

// NewSlow returns an empty slow store.
func NewSlow(o store.Options, delay time.Duration) *Slow {
	return &Slow{Memory: store.NewJournaled(o, NewJournal(delay)), delay: delay, opened: make(map[string]bool)}
}

// Opened implements store.Store.
func (s *Slow) Opened(device string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened[device]
}

// Open implements store.Opener.
func (s *Slow) Open(device string) error {
	time.Sleep(s.delay)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened[device] = true
	return nil
}
