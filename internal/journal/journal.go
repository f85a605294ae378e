// Package journal is an append-only log on disk: records in segment files of fixed size, synced in
// groups. After a power cut, every record that was reported as safe is there, or its loss is reported.
//
// A record has a place, a number; places have no gaps. Append copies the record to memory. One
// goroutine, the committer, takes the batch that has gathered, writes it as one group, syncs once, calls the
// group's claims, and takes the next batch, which fills meanwhile. Another, the preparer, keeps a
// segment ready for when the current one is full: a new one, or one that Trim has freed.
//
// A journal may have a second directory, on another disk. It goes on there while the first disk is slow or fails.
package journal

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// Place is the number of a record. The first one has 1.
type Place uint64

var (
	// ErrFull is Append's error while too many bytes wait for the disk. Options.OnRoom is called when
	// it is worth trying again.
	ErrFull = errors.New("journal: too many bytes wait for the disk")
	// ErrTooLarge is the error for a record that no group can hold.
	ErrTooLarge = errors.New("journal: record too large")
	// ErrClosed is the error after Close.
	ErrClosed = errors.New("journal: closed")
	// ErrSpace says why no segment can be added: Options.MaxBytes or Options.Reserve. Err wraps it.
	ErrSpace = errors.New("no disk space left for the journal")
	// ErrBound is the ErrSpace of Options.MaxBytes.
	ErrBound = fmt.Errorf("%w: it has all that it may use", ErrSpace)
	// ErrFailed is wrapped by the errors of Append and of claims while the disk fails.
	ErrFailed = errors.New("journal: not safe on disk")
)

// Options say where a journal is and how much it may use. FS is required; everything else has defaults.
type Options struct {
	FS FS
	// Second is the directory in which the journal goes on while the one of FS is slow or fails; nil if there is none.
	Second FS
	// SecondLeaves says that nothing is to be written to Second any more: what is there is read, and removed when it is trimmed.
	SecondLeaves bool
	// Stall is how long a group may take to be written and synced before it is written to the other directory as well:
	// half a second by default. Without Second it has no meaning.
	Stall time.Duration
	// SegmentSize is the size of a segment file in bytes, 64 MiB by default, a multiple of 512.
	SegmentSize int64
	// Pending bounds the bytes that wait for the disk, and so the largest group: 4 MiB by default.
	// A group of the same size may be in writing at the same time.
	Pending int
	// SyncDelay bounds how long a group gathers records before it is written, while many come. It saves syncs: each of them
	// costs CPU time.
	SyncDelay time.Duration
	// MaxBytes bounds all segments together, at least two, with Second three; 0 means no bound. What Others returns counts
	// as well: the bytes that others have of it now. Others must not block, and may be nil.
	MaxBytes int64
	Others   func() int64
	// Reclaim is called when MaxBytes leaves no room for another segment, and returns the place up to which the journal
	// may be trimmed for it. The journal trims one segment, the oldest, if all of its records are before that place. nil
	// means that nothing may be trimmed. It runs on a goroutine of the journal, which holds no lock; it must not block.
	Reclaim func() Place
	// Reserve is how many bytes the file system of each directory must have left after a segment was added.
	Reserve int64

	// OnRoom is called when it is worth trying again, after Append or Commit returned ErrFull or an error that wraps
	// ErrFailed. It runs on a goroutine of the journal, which holds no lock; it must not block.
	OnRoom func()
	// OnFault is called for each write, sync or preparation of a segment that failed, like OnRoom.
	// The journal survives most faults: Err returns whether it fails.
	OnFault func(error)
}

const (
	defaultSegment = 64 << 20
	defaultPending = 4 << 20
	defaultStall   = 500 * time.Millisecond
)

func (o *Options) fill() error {
	if o.SegmentSize == 0 {
		o.SegmentSize = defaultSegment
	}
	if o.Pending == 0 {
		o.Pending = int(min(defaultPending, o.SegmentSize/4))
	}
	if o.Reclaim == nil {
		o.Reclaim = func() Place { return 0 }
	}
	if o.Stall <= 0 {
		o.Stall = defaultStall
	}
	if o.Others == nil {
		o.Others = func() int64 { return 0 }
	}
	least := 2 * o.SegmentSize
	if o.Second != nil {
		least += o.SegmentSize
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
	case o.MaxBytes > 0 && o.MaxBytes < least:
		return fmt.Errorf("journal: %d bytes are too few: its segments need %d", o.MaxBytes, least)
	case o.Pending < recordHead || sector+groupSize(o.Pending) > o.SegmentSize:
		return fmt.Errorf("journal: a segment of %d bytes has no room for a group of %d", o.SegmentSize, o.Pending)
	}
	return nil
}

// Journal is an open journal. Its methods are safe from any goroutine; Append, Commit, Err, First and
// End never block, so loops may call them.
type Journal struct {
	// Static after construction.
	options Options
	salt    uint64
	dirs    []*directory // the first, and the second if there is one

	// Owned by the committer.
	current  *segment // nil if the next group begins a new one
	order    uint64   // of the segment that was begun last
	marked   bool     // the last group is the mark of a clean end
	gathers  int      // records and fences that the last group gathered
	steadily bool     // records came all the time while the last group was gathered

	writes sync.WaitGroup // writes under way; the committer adds

	mu sync.Mutex
	// Guarded by mu.
	intake   *intake
	segments []*segment    // with groups, ascending; only the last may be written
	trimmed  []*segment    // no longer needed, ascending
	serial   uint64        // the number in the newest file's name
	number   uint64        // the newest use's of a file
	pause    time.Duration // how long a preparer waits before it ends a failure
	news     chan struct{} // closed when there is more to read; nil while no reader waits
	stats    Stats
	syncing  time.Time // when the committer began to wait for the disk; zero while it does not

	// Signals. Each channel holds one; a second signal would say nothing new.
	work   chan struct{} // to the committer: a batch has begun, or is half full
	spared chan struct{} // to the committer: a spare or the state of a directory has changed

	closing   chan struct{} // closed by Close
	committed chan struct{} // closed when the committer has ended
	closed    chan struct{} // closed when Close has ended
}

// Stats are counters since Open, and the current state.
type Stats struct {
	Records, Groups, Bytes uint64        // safe records and groups; bytes that were written
	Faults                 uint64        // writes, syncs and preparations that failed
	Failures               uint64        // times that the journal stopped accepting records
	Refused                uint64        // accepted records that were refused because the disk failed
	Syncs                  uint64        // groups that were written and synced, or failed to be
	SyncTime               time.Duration // that this took
	Stalls                 uint64        // writes that took longer than Options.Stall
	Aside                  bool          // the newest segment is in the second directory
	Segments, Trimmed      int           // segments with records; segments that wait to be used again
	First, End             Place         // of the oldest record; after the newest safe record
	Pending                int           // bytes that wait for the disk
	Size                   int64         // bytes of all files
	Syncing                time.Duration
}

// Append adds a copy of record. done is called once: with nil when the record and all records
// before it are safe, otherwise with an error that wraps ErrFailed. done may be nil. It runs on the committer, which
// holds no lock and calls in the order of Append and Commit; it must not block. If Append returns an
// error, done is not called.
//
// The place is final only when the record is safe: after a failure, places are assigned again.
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

// Commit calls done, as Append does, when everything that was appended before is safe.
func (j *Journal) Commit(done func(error)) error {
	j.mu.Lock()
	begun := !j.intake.filling.empty()
	err := j.intake.fence(done)
	j.mu.Unlock()
	if err == nil && !begun {
		signal(j.work)
	}
	return err
}

// signal never blocks, because the receiver checks everything when it wakes.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Err returns why the journal accepts nothing at present: ErrClosed, or an error that wraps ErrFailed and the
// disk's error. It returns nil when the journal accepts records (again).
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.intake.err
}

// First returns the place of the oldest record, which is End if there is none.
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

// End returns the place after the newest safe record.
func (j *Journal) End() Place {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.intake.safe
}

// Stats returns the counters and the current state.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.stats
	s.Segments, s.Trimmed = len(j.segments), len(j.trimmed)
	s.First, s.End = j.first(), j.intake.safe
	s.Pending = j.intake.filling.length()
	for _, d := range j.dirs {
		s.Size += d.bytes
	}
	if !j.syncing.IsZero() {
		s.Syncing = time.Since(j.syncing)
	}
	return s
}

// Trim drops all records before place. The caller no longer needs them: what it took from them is durable
// elsewhere. Segments without other records are used again. The newest segment with a record stays, because it
// tells a later Open where the journal ends. It reports whether there was such a segment.
func (j *Journal) Trim(place Place) bool {
	freed := j.trim(place, math.MaxInt)
	if freed {
		for _, d := range j.dirs {
			signal(d.freed)
		}
	}
	return freed
}

// trim drops at most so many segments that have no record at place or after it.
func (j *Journal) trim(place Place, most int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for n < most && n+1 < len(j.segments) && j.segments[n+1].first <= place {
		n++
	}
	if n == 0 {
		return false
	}
	j.trimmed = append(j.trimmed, j.segments[:n]...)
	j.segments = append([]*segment(nil), j.segments[n:]...)
	return true
}

// Close writes everything that was appended, calls the claims, marks the end as a clean one, and closes the
// files. Readers get ErrClosed. It waits for the disk.
func (j *Journal) Close() error {
	j.mu.Lock()
	if errors.Is(j.intake.err, ErrClosed) {
		j.mu.Unlock()
		<-j.closed
		return nil
	}
	j.intake.err = ErrClosed
	j.wakeReaders()
	j.mu.Unlock()
	defer close(j.closed)
	close(j.closing)
	<-j.committed
	for _, d := range j.dirs {
		signal(d.prepare)
		<-d.prepared
	}
	j.writes.Wait() // another process must not use the files before
	return j.release()
}

// release closes everything. Only readers may still use the files; they get an error.
func (j *Journal) release() error {
	j.mu.Lock()
	files := slices.Concat(j.trimmed, j.segments, []*segment{j.current})
	for _, d := range j.dirs {
		files = append(append(files, d.spoiled...), d.spare)
	}
	j.mu.Unlock()
	errs := []error{j.closeFiles(files)}
	for _, d := range j.dirs {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(errs...)
}

// closeFiles closes the files of segments, once. Elements may be nil.
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

// wakeReaders wakes the readers that wait at the end of the journal. mu is held.
func (j *Journal) wakeReaders() {
	if j.news != nil {
		close(j.news)
		j.news = nil
	}
}
