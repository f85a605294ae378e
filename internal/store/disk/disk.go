// Package disk is a store that survives: its operations are in a journal, which is synced before anybody is told that
// they are safe, and what they make is kept in a database of keys, so that the journal can be trimmed.
//
//	DIR/LOCK      the process that uses DIR
//	DIR/FORMAT    the version of all that is in DIR
//	DIR/journal   the operations (internal/journal)
//	DIR/state     what the operations up to a place have made (pebble, without a log of its own)
package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/store"
)

// Options say where a store is. Its bounds are store.Options.
type Options struct {
	Path string // the directory; made if it does not exist
	Log  *slog.Logger

	// Layers over the files of the operating system, for tests of disks that fail; nil means none.
	WrapJournal func(journal.FS) journal.FS
	WrapState   func(vfs.FS) vfs.FS

	// For tests. Zero values are the operating system's.
	files      vfs.FS
	journal    journal.Options // but FS, OnRoom and OnFault
	journalFS  journal.FS
	secondFS   journal.FS
	checkpoint int64 // bytes of operations between checkpoints
	closing    time.Duration
	applyAfter time.Duration
}

// checkpointEvery is how many bytes of operations are applied before the state is made durable and the journal trimmed. It
// bounds what a start has to replay.
const checkpointEvery = 64 << 20

// closingTime is how long Close waits for the state's files. What is not there then comes from the journal at the next start.
const closingTime = 10 * time.Second

// pending bounds the bytes that wait for a sync, and so the largest operation: a record with many subscriptions.
const pending = 12 << 20

// syncDelay bounds how long operations wait for others to share a sync with, while many come.
const syncDelay = 2 * time.Millisecond

// recordRoom is what a record takes in the journal beside its bytes, and more.
const recordRoom = 64

func (o *Options) fill() {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.files == nil {
		o.files = vfs.Default
	}
	if o.journalFS == nil {
		o.journalFS = journal.Dir(filepath.Join(o.Path, "journal"))
	}
	if o.WrapJournal != nil {
		o.journalFS = o.WrapJournal(o.journalFS)
	}
	if o.checkpoint == 0 {
		o.checkpoint = checkpointEvery
	}
	if o.closing == 0 {
		o.closing = closingTime
	}
	if o.applyAfter == 0 {
		o.applyAfter = applyAfter
	}
	if o.journal.Pending == 0 {
		o.journal.Pending, o.journal.SyncDelay = pending, syncDelay
	}
}

// Store is a durable store.Store. What it keeps is in memory as well, but for messages of queues, and large retained ones.
type Store struct {
	*store.Memory

	// Static after construction.
	options Options
	lock    io.Closer // nil in tests
	journal *journal.Journal
	intake  *intake
	state   *state

	// Owned by the applier.
	reader  *journal.Reader
	changes changes
	applied int64 // bytes since the last checkpoint

	second   Second // static
	room     room
	watching sync.WaitGroup // watchRoom

	applying sync.Mutex         // held while the state and the journal's beginning change
	stop     context.CancelFunc // ends the applier
	stopped  chan error         // gets how the applier has ended
	close    func() error       // once
	lost     atomic.Uint64
	ranges   lostRanges
	faults   atomic.Uint64 // of the state's files
	told     atomic.Int64  // Unix seconds when one of them was logged last
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Opener = (*Store)(nil)
)

// Open opens the store in a directory, or makes one. It returns when the state is up to date and all that is in memory is
// there. It fails when another
// process uses the directory, when a newer version wrote it, and when its parts do not belong together.
func Open(bounds store.Options, o Options) (_ *Store, err error) {
	o.fill()
	s := &Store{options: o, stopped: make(chan error, 1)}
	s.room.bounds = bounds
	s.intake = newIntake(o.journal.Pending-recordRoom, s.countTooLong)
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("store %s: %w", o.Path, err), s.release(s.state))
		}
	}()
	if o.files == vfs.Default {
		if s.lock, err = enter(o.Path); err != nil {
			return nil, err
		}
		if s.second, err = pairUp(o.Path, bounds.SecondPath); err != nil {
			return nil, err
		}
	}
	files := o.files
	if o.WrapState != nil {
		files = o.WrapState(files)
	}
	if s.state, err = openState(s.statePath(), files, &bounds.Retained, s.events(), s.stateFault); err != nil {
		return nil, err
	}
	s.Memory = store.NewJournaled(bounds, medium{s.intake, s.state})
	if err = s.openJournal(); err != nil {
		return nil, err
	}
	if err = s.replay(); err != nil {
		return nil, err
	}
	if err = s.state.load(s.Memory); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop, s.close = stop, sync.OnceValue(s.end)
	go s.follow(ctx)
	if s.lookAtRoom(); bounds.MaxBytes > 0 || bounds.Reserve > 0 {
		s.watching.Go(func() { s.watchRoom(ctx) })
	}
	return s, nil
}

func (s *Store) statePath() string { return filepath.Join(s.options.Path, "state") }

// openJournal opens the journal and checks that the state belongs to it.
func (s *Store) openJournal() error {
	o := s.options.journal
	o.Second = s.options.secondFS
	if second := s.second; second.Path != "" {
		o.Second, o.SecondLeaves = journal.Dir(filepath.Join(second.Path, "journal")), second.Leaves
	}
	o.Stall = s.room.bounds.Stall
	o.MaxBytes, o.Others = int64(s.room.bounds.MaxBytes), s.room.state.Load
	o.Reserve = int64(s.room.bounds.Reserve) / 2
	o.FS, o.OnRoom = s.options.journalFS, s.intake.pump
	o.OnFault = func(err error) { s.options.Log.Error("the disk fails the store's journal", "error", err) }
	j, found, err := journal.Open(o)
	if err != nil {
		return err
	}
	s.journal = j
	s.intake.begin(j, uint64(found.End))
	place := s.state.place
	if err := fits(place, found); err != nil {
		return err
	}
	if found.Cut != nil {
		s.options.Log.Info("the last operations of the journal were not whole and are given up: nobody was told that they were safe",
			"from", found.Cut.From, "to", found.Cut.To)
	}
	for _, name := range found.SetAside {
		s.options.Log.Error("nothing in a file of the journal can be read: it is set aside", "file", name)
	}
	s.reader = j.Reader(place)
	return nil
}

// fits returns an error unless a state that has the operations before a place belongs to a journal.
func fits(place journal.Place, found journal.Recovery) error {
	switch {
	case place > found.End:
		return fmt.Errorf("state knows operations up to %d, and journal ends at %d: they are not of the same time; put a copy of both back", place, found.End)
	case place < found.First:
		return fmt.Errorf("state knows operations up to %d, and journal begins at %d: they are not of the same time; put a copy of both back", place, found.First)
	}
	return nil
}

// Close implements store.Opener: it makes safe what was handed in, brings the state up to date, and lets go of the
// directory. The error is why something is not safe.
func (s *Store) Close() error { return s.close() }

func (s *Store) end() error {
	err := s.Memory.Close() // a fence
	s.stop()
	s.watching.Wait()
	select {
	case last := <-s.stopped:
		err = errors.Join(err, last)
	case <-time.After(s.options.closing):
		// The applier waits for them: the state cannot be closed.
		return errors.Join(err, errNotWritten, s.release(nil))
	}
	return errors.Join(err, s.release(s.state))
}

var errNotWritten = errors.New("the state's files cannot be written")

// release closes the state, unless it is nil, and all else that is open.
func (s *Store) release(state *state) error {
	var errs []error
	if state != nil {
		closed := make(chan error, 1)
		go func() { closed <- state.close() }()
		select {
		case err := <-closed:
			errs = append(errs, err)
		case <-time.After(s.options.closing):
			errs = append(errs, errNotWritten)
		}
	}
	if s.journal != nil {
		errs = append(errs, s.journal.Close())
	}
	s.intake.wait()
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// Stats are counters since Open, and what is there now.
type Stats struct {
	Journal    journal.Stats
	StateBytes uint64 // of the state's files
	Behind     uint64 // operations that are safe in the journal and not yet in the state
	Unsafe     int    // operations that wait for a sync
	Lost       uint64 // operations that were safe and that the disk has spoilt
	Faults     uint64 // of the disk, seen by the state; the journal has its own
	Free       int64  // bytes of the file system, when they were looked at last
	Full       bool   // messages are refused, because of the bounds in store.Options
}

// Stats returns the counters.
func (s *Store) Stats() Stats {
	reached := s.state.reached.Load() // first, so that it is not ahead
	j := s.journal.Stats()
	return Stats{
		Journal:    j,
		StateBytes: s.state.size(),
		Behind:     uint64(j.End) - reached,
		Unsafe:     s.intake.len(),
		Lost:       s.lost.Load(),
		Faults:     s.faults.Load(),
		Free:       s.room.free.Load(),
		Full:       s.room.err() != nil,
	}
}

// Second returns the second directory, for journals beside the store's.
func (s *Store) Second() Second { return s.second }

// events are what pebble tells of its background.
func (s *Store) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			s.stateFault(err)
			time.Sleep(100 * time.Millisecond) // pebble itself does not, before it tries again
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			s.stateFault(fmt.Errorf("%s is spoilt: stop the node and run longline store check: %w", info.Path, info.Details))
		},
	}
}

// stateFault counts what fails in the state's files, and logs it every 10 s at most.
func (s *Store) stateFault(err error) {
	s.faults.Add(1)
	now, last := time.Now().Unix(), s.told.Load()
	if now-last < 10 || !s.told.CompareAndSwap(last, now) {
		return
	}
	s.options.Log.Error("the disk fails the store's state; what is acknowledged is in the journal", "error", err)
}
