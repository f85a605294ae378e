package disk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// The bounds of one batch of the state, because it is in memory.
const (
	applyAtOnce = 2 << 20 // bytes of operations
	opsAtOnce   = 2 * many
)

// ended is a context that does not wait.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// replay brings the state to the end of the journal. No applier runs beside it.
func (s *Store) replay() error {
	for {
		n, err := s.take(ended)
		if err != nil || n == 0 {
			return err
		}
	}
}

const (
	// applyAfter is how long operations wait for others at most: a message that was acknowledged by then is never in the state.
	applyAfter = 100 * time.Millisecond
	// applyLooks is how often the applier looks in that time whether many wait. To be woken for each group would cost more than what
	// it does then.
	applyLooks = 5
	// many is how many operations do not wait. It bounds for how long the applier takes a processor at a time.
	many = 2000
)

// follow is the applier: it brings the state behind the journal as that grows, until ctx ends, and once more
// then. While pebble cannot write its files, it waits here.
func (s *Store) follow(ctx context.Context) {
	defer func() { s.stopped <- s.catchUp() }()
	var failing time.Duration
	for ctx.Err() == nil {
		if _, err := s.take(ctx); err == nil {
			failing = 0
			s.gather(ctx)
			continue
		} else if ctx.Err() != nil {
			return
		} else {
			s.faults.Add(1)
			s.options.Log.Error("the store's state cannot be brought up to date; what is acknowledged is in the journal", "error", err)
		}
		failing = min(max(2*failing, 100*time.Millisecond), 5*time.Second)
		rest(ctx, failing)
	}
}

// gather waits until many operations are behind the state, for applyAfter at most. It does not wait while memory is short: messages that need
// not be there leave it when the state has them.
func (s *Store) gather(ctx context.Context) {
	for range applyLooks {
		short := s.room.bounds.Account.Full(message.Debtor{}) != message.NoPart
		if short || s.journal.End()-s.state.place > many || ctx.Err() != nil {
			return
		}
		rest(ctx, s.options.applyAfter/applyLooks)
	}
}

// rest waits for a time, or until ctx ends.
func rest(ctx context.Context, pause time.Duration) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}

// catchUp brings the state to the end of the journal and makes it durable.
func (s *Store) catchUp() error {
	if err := s.replay(); err != nil {
		return err
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	return s.checkpoint()
}

// take applies the next operations of the journal to the state. It waits for the first as long as ctx lives, and returns how many
// places it went on. After an error the same operations come again.
func (s *Store) take(ctx context.Context) (places int, err error) {
	b := s.state.batch()
	defer b.close()
	all := &s.changes
	all.reset() // of an earlier error
	for size := 0; ; ctx = ended {
		var rec journal.Record
		full := size >= applyAtOnce || places >= opsAtOnce
		if !full {
			rec, err = s.reader.Next(ctx)
		}
		var gap *journal.Gap
		switch {
		case full, errors.Is(err, context.Canceled), errors.Is(err, journal.ErrClosed):
			all.write(b)
			return places, s.commit(b, size)
		case errors.As(err, &gap):
			s.countLost(gap)
			b.next = gap.To
			places += int(gap.To - gap.From)
			continue
		case err == nil:
			err = s.add(all, rec)
		}
		if err != nil {
			s.reader = s.journal.Reader(s.state.place)
			return places, err
		}
		b.next = rec.Place + 1
		size += len(rec.Data)
		places++
	}
}

// add adds one operation to the changes. One that cannot be read is lost, unless a newer program wrote it.
func (s *Store) add(all *changes, rec journal.Record) error {
	switch err := all.add(rec.Data); {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNewerOp):
		return fmt.Errorf("operation %d of the journal: %w", rec.Place, err)
	default:
		s.lost.Add(1)
		s.ranges.add(Lost{First: uint64(rec.Place), Last: uint64(rec.Place), Found: time.Now()})
		s.options.Log.Error("an operation of the store cannot be read, and is lost", "operation", rec.Place, "error", err)
		return nil
	}
}

// commit applies a batch to the state, and makes a checkpoint when enough was applied since the last one.
func (s *Store) commit(b *batch, size int) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	if err := s.state.apply(b); err != nil {
		s.reader = s.journal.Reader(s.state.place)
		return err
	}
	s.UnloadRetained()
	if s.applied += int64(size); s.applied < s.options.checkpoint {
		return nil
	}
	return s.checkpoint()
}

// checkpoint makes the state durable and trims the journal to it. applying is held.
func (s *Store) checkpoint() error {
	if err := s.state.flush(); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	s.applied = 0
	s.journal.Trim(s.state.place)
	return nil
}

// countTooLong tells of an operation that no journal holds.
func (s *Store) countTooLong(size int) {
	s.lost.Add(1)
	s.options.Log.Error("a change is too large to be made safe: it lasts as long as this process", "bytes", size, "most", s.intake.most)
}

// countLost tells of operations that were safe and are gone.
func (s *Store) countLost(gap *journal.Gap) {
	s.lost.Add(uint64(gap.To - gap.From))
	l := Lost{
		First: uint64(gap.From), Last: uint64(gap.To - 1), Found: time.Now(),
		DeviceBefore: deviceAt(s.journal, gap.From-1), DeviceAfter: deviceAt(s.journal, gap.To),
	}
	s.ranges.add(l)
	s.options.Log.Error("operations of the store are lost: the disk has spoilt them",
		"first", l.First, "last", l.Last, "device_before", l.DeviceBefore, "device_after", l.DeviceAfter)
}
