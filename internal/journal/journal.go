// Package journal is an append-only log on disk: records in segment files of fixed size, synced in
// groups. What it has told to be safe is there after a power cut, or its loss is named.
//
// A record has a place, a number; places have no gaps. Append copies the record to memory. One
// goroutine, the committer, takes what has gathered, writes it as one group, syncs once, tells the
// claims of the group, and takes the next; meanwhile the next one fills. Another, the preparer, keeps a
// segment ready for when the current one is full: a new one, or one that Trim has freed.
package journal

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Place is the number of a record. The first one has 1.
type Place uint64

var (
	// ErrFull is Append's answer while too many bytes wait for the disk. Options.OnRoom says when
	// to try again.
	ErrFull = errors.New("journal: too many bytes wait for the disk")
	// ErrTooLarge is the answer to a record that no group can hold.
	ErrTooLarge = errors.New("journal: record too large")
	// ErrClosed is the answer after Close.
	ErrClosed = errors.New("journal: closed")
	// ErrSpace is why no segment can be added: Options.MaxBytes or Options.Reserve. Err wraps it.
	ErrSpace = errors.New("no disk space left for the journal")
	// ErrFailed wraps what Append answers and claims are told while the disk fails.
	ErrFailed = errors.New("journal: not safe on disk")
)

// Options say where a journal is and what it may take. FS is needed; all else has defaults.
type Options struct {
	FS FS
	// SegmentSize is the size of a segment file in bytes, 64 MiB by default, a multiple of 512.
	SegmentSize int64
	// Pending bounds the bytes that wait for the disk, and so the largest group: 4 MiB by default.
	// As much again may be under way to the disk.
	Pending int
	// SyncDelay is how long a group gathers records before it is written, unless it is half full.
	SyncDelay time.Duration
	// MaxBytes bounds all segments together, of which there must be two; 0 means no bound.
	MaxBytes int64
	// Reserve is what the file system must have left after a segment was added.
	Reserve int64

	// OnRoom is called after Append or Commit has answered ErrFull, or with ErrFailed, when it is
	// worth trying again. It runs on a goroutine of the journal, which holds no lock; it must not block.
	OnRoom func()
	// OnFault is called for each write, sync or preparation of a segment that failed, like OnRoom.
	// Most faults are survived: Err says whether the journal fails.
	OnFault func(error)
}

const (
	defaultSegment = 64 << 20
	defaultPending = 4 << 20
)

func (o *Options) fill() error {
	if o.SegmentSize == 0 {
		o.SegmentSize = defaultSegment
	}
	if o.Pending == 0 {
		o.Pending = int(min(defaultPending, o.SegmentSize/4))
	}
	if o.OnRoom == nil {
		o.OnRoom = func() {}
	}
	if o.OnFault == nil {
		o.OnFault = func(error) {}
	}
	switch {
	case o.FS == nil:
		return errors.New("journal: no directory")
	case o.SegmentSize%sector != 0:
		return fmt.Errorf("journal: a segment of %d bytes is no multiple of %d", o.SegmentSize, sector)
	case o.MaxBytes > 0 && o.MaxBytes < 2*o.SegmentSize:
		return fmt.Errorf("journal: %d bytes are too few for two segments of %d", o.MaxBytes, o.SegmentSize)
	case o.Pending < recordHead || sector+groupSize(o.Pending) > o.SegmentSize:
		return fmt.Errorf("journal: a segment of %d bytes has no room for a group of %d", o.SegmentSize, o.Pending)
	}
	return nil
}

// Journal is an open journal. Its methods are safe from any goroutine; Append, Commit, Err and the
// places never block, so that loops may call them too.
type Journal struct {
	// Static after construction.
	options Options
	salt    uint64
	lock    io.Closer

	// Owned by the committer.
	current *segment // nil when the next group begins another
	marked  bool     // the last group is the mark of a clean end

	// Owned by the preparer.
	serial uint64 // in the name of the newest file
	number uint64 // of the newest segment

	mu sync.Mutex
	// Guarded by mu.
	intake   *intake
	segments []*segment    // that hold groups, ascending; only the last may be written
	trimmed  []*segment    // that nobody reads any more, ascending
	spoiled  []*segment    // that failed before they held a group: to be removed
	spare    *segment      // prepared for the committer
	spareErr error         // why there is none, if preparing failed
	bytes    int64         // of all files but those that were set aside
	pause    time.Duration // before the preparer ends a failure
	news     chan struct{} // closed when there is more to read; nil when nobody waits
	stats    Stats
	syncing  time.Time // since when the committer waits for the disk; zero if it does not

	// Signals. Each holds one; a second one while it is full says nothing new.
	work    chan struct{} // to the committer: a batch begins, or is half full
	spared  chan struct{} // to the committer: spare or spareErr has changed
	prepare chan struct{} // to the preparer: the spare is taken, or the journal fails
	freed   chan struct{} // to the preparer: segments were trimmed
	urgent  chan struct{} // to the preparer: the committer waits for a spare

	closing   chan struct{} // closed by Close
	committed chan struct{} // closed when the committer has ended
	prepared  chan struct{} // closed when the preparer has ended
}

// Stats are counters since Open, and what is there now.
type Stats struct {
	Records, Groups, Bytes uint64 // that are safe; Bytes as written
	Faults                 uint64 // writes, syncs and preparations that failed
	Failures               uint64 // times that the journal could not go on
	Refused                uint64 // records refused because the disk failed after they were accepted
	Segments, Trimmed      int    // that hold records; that wait to be used again
	First, End             Place  // of the oldest record; behind the newest that is safe
	Pending                int    // bytes that wait for the disk
	Syncing                time.Duration
}

// Append hands over a record, which is copied. done is called once: with nil when the record and all
// before it are safe, else with an error that wraps ErrFailed. done may be nil. It runs on the committer, which
// holds no lock and calls in the order of Append and Commit; it must not block. If Append returns an
// error, done is not called.
//
// The place is the record's for good only when it is safe: after a failure others get it.
func (j *Journal) Append(record []byte, done func(error)) (Place, error) {
	if len(record) > j.options.Pending {
		return 0, ErrTooLarge
	}
	prefix := recordPrefix(j.salt, record)
	j.mu.Lock()
	begun := !j.intake.filling.empty()
	place, err := j.intake.append(prefix, record, done)
	half := j.intake.filling.length() > j.options.Pending/2
	j.mu.Unlock()
	if err == nil && (!begun || half) {
		signal(j.work)
	}
	return place, err
}

// Commit calls done, as Append does, when all that was handed over before is safe.
func (j *Journal) Commit(done func(error)) error {
	j.mu.Lock()
	err := j.intake.fence(done)
	j.mu.Unlock()
	if err == nil {
		signal(j.work)
	}
	return err
}

// signal never blocks: who is to be woken looks at everything.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Err returns why the journal accepts nothing now: ErrClosed, or an error that wraps ErrFailed and the
// disk's. It returns nil again when the disk is well.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.intake.err
}

// First returns the place of the oldest record that is kept, which is End when there is none.
func (j *Journal) First() Place {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.first()
}

func (j *Journal) first() Place {
	if len(j.segments) == 0 {
		return j.intake.safe
	}
	return j.segments[0].first
}

// End returns the place behind the newest record that is safe.
func (j *Journal) End() Place {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.intake.safe
}

// Stats returns the counters.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.stats
	s.Segments, s.Trimmed = len(j.segments), len(j.trimmed)
	s.First, s.End = j.first(), j.intake.safe
	s.Pending = j.intake.filling.length()
	if !j.syncing.IsZero() {
		s.Syncing = time.Since(j.syncing)
	}
	return s
}

// Trim gives up all records before place. Whoever needs them has made what it took from them durable
// elsewhere. Segments that hold nothing else are used again; the newest one that holds a record stays, because it
// tells a later Open where the journal ends.
func (j *Journal) Trim(place Place) {
	j.mu.Lock()
	n := 0
	for n+1 < len(j.segments) && j.segments[n+1].first <= place {
		n++
	}
	j.trimmed = append(j.trimmed, j.segments[:n]...)
	j.segments = append([]*segment(nil), j.segments[n:]...)
	j.mu.Unlock()
	if n > 0 {
		signal(j.freed)
	}
}

// Close writes what was handed over, tells its claims, marks the end as a clean one, and closes the
// files. Readers get ErrClosed. It waits for the disk.
func (j *Journal) Close() error {
	j.mu.Lock()
	if errors.Is(j.intake.err, ErrClosed) {
		j.mu.Unlock()
		<-j.prepared
		return nil
	}
	j.intake.err = ErrClosed
	j.wakeReaders()
	j.mu.Unlock()
	close(j.closing)
	<-j.committed
	signal(j.prepare)
	<-j.prepared
	return j.release()
}

// release closes all. Nothing uses the files any more but readers, who find out.
func (j *Journal) release() error {
	j.mu.Lock()
	files := slices.Concat(j.trimmed, j.segments, j.spoiled, []*segment{j.spare, j.current})
	j.mu.Unlock()
	return errors.Join(j.closeFiles(files), j.lock.Close())
}

// closeFiles closes the files of segments, once. Some may be nil.
func (j *Journal) closeFiles(files []*segment) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var errs []error
	for _, s := range files {
		if s != nil && s.file != nil && !s.closed {
			s.closed = true
			errs = append(errs, s.file.Close())
		}
	}
	return errors.Join(errs...)
}

// wakeReaders tells the readers at the end that something has changed. mu is held.
func (j *Journal) wakeReaders() {
	if j.news != nil {
		close(j.news)
		j.news = nil
	}
}
