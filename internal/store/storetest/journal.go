package storetest

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// Journal is a store.Medium in memory, which can be cut off where a kill might cut it.
type Journal struct {
	delay  time.Duration // from Commit until the fence passes, and of Read
	behind int           // operations behind the last fence that the state does not have yet

	mu     sync.Mutex
	ops    [][]byte
	safe   int // operations before the last fence that passed
	fences int // how many were asked for
}

// NewJournal returns an empty journal whose fences pass after a delay.
func NewJournal(delay time.Duration) *Journal { return &Journal{delay: delay} }

// Add implements store.Journal.
func (j *Journal) Add(op store.Op) {
	p := store.AppendOp(nil, &op)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ops = append(j.ops, p)
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

// Progress implements store.Medium: the state is made on demand, but for the last operations if it is behind.
func (j *Journal) Progress() (appended, applied uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return uint64(len(j.ops)), uint64(max(j.safe, len(j.ops)-j.behind))
}

// Read implements store.Medium.
func (j *Journal) Read(p *store.Page) error {
	time.Sleep(j.delay)
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(p.Retained) > 0 {
		return j.readRetained(p)
	}
	p.Messages = make([]*message.Message, len(p.Numbers))
	for i := len(j.ops) - 1; i >= 0; i-- {
		op, err := store.ParseOp(bytes.Clone(j.ops[i]))
		if err != nil {
			return err
		}
		if op.Device != p.Device {
			continue
		}
		if op.Kind == store.OpDrop {
			break
		}
		k, found := slices.BinarySearch(p.Numbers, op.Number)
		if found && op.Kind == store.OpPush && p.Messages[k] == nil {
			p.Messages[k] = op.Message
		}
	}
	return nil
}

// readRetained is Read for a page of retained messages. mu is held.
func (j *Journal) readRetained(p *store.Page) error {
	p.Messages = make([]*message.Message, len(p.Retained))
	for _, b := range j.ops {
		op, err := store.ParseOp(bytes.Clone(b))
		if err != nil {
			return err
		}
		for i, k := range p.Retained {
			switch {
			case op.Kind == store.OpRetain && op.Message.Topic == k.Topic:
				p.Messages[i] = op.Message
			case op.Kind == store.OpUnretain && op.Topic == k.Topic:
				p.Messages[i] = nil
			}
		}
	}
	return nil
}

// Slow is a store on a journal that takes its time, as a disk does: for each fence, and to read messages.
type Slow struct{ *store.Memory }

// NewSlow returns an empty slow store.
func NewSlow(o store.Options, delay time.Duration) *Slow {
	return &Slow{store.NewJournaled(o, NewJournal(delay))}
}
