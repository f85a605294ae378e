package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// segmentSuffix ends the names of segment files, damagedSuffix the names of files that were set aside.
const (
	segmentSuffix = ".segment"
	damagedSuffix = ".damaged"
)

// keptDamaged is how many files that were set aside are kept.
const keptDamaged = 4

// keepReady is the preparer's goroutine. It keeps one segment ready, ends failures, and removes files that are
// not needed. It ends after the committer.
func (j *Journal) keepReady() {
	defer close(j.prepared)
	var pause time.Duration // after a failed preparation
	for !j.hasEnded() {
		wanted, failed, rest := j.state()
		switch {
		case wanted || failed:
			j.rest(max(rest, pause))
			_, failed, _ = j.state() // not later: the journal may fail again while the spare is made
			if wanted && j.prepareSpare() != nil {
				pause = nextPause(pause)
				continue
			}
			pause = 0
			if failed {
				j.heal()
			}
		default:
			busy, err := j.tidy()
			if err != nil {
				pause = nextPause(pause)
				j.rest(pause)
			} else if pause = 0; !busy {
				j.await()
			}
		}
	}
}

// await returns when the preparer may have something to do.
func (j *Journal) await() {
	select {
	case <-j.prepare:
	case <-j.freed:
	case <-j.committed:
	}
}

// state reports whether a spare is wanted and whether the journal fails, and how long to wait before ending that.
func (j *Journal) state() (wanted, failed bool, rest time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	wanted = j.spare == nil
	if failed = errors.Is(j.intake.err, ErrFailed); failed {
		rest = j.pause
	}
	return wanted, failed, rest
}

// nextPause returns how long to wait after another failure in a row.
func nextPause(last time.Duration) time.Duration {
	const least, most = 100 * time.Millisecond, 5 * time.Second
	return min(max(2*last, least), most)
}

// rest waits for d, or until segments are trimmed, which may be what was missing.
func (j *Journal) rest(d time.Duration) {
	if d == 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-j.freed:
	case <-j.committed:
	}
}

func (j *Journal) hasEnded() bool {
	select {
	case <-j.committed:
		return true
	default:
		return false
	}
}

// heal ends a failure, because there is a segment to try again with.
func (j *Journal) heal() {
	j.mu.Lock()
	room := j.intake.heal()
	j.mu.Unlock()
	if room {
		j.options.OnRoom()
	}
}

// prepareSpare makes the spare segment, from the oldest trimmed file or a new one.
func (j *Journal) prepareSpare() error {
	j.mu.Lock()
	j.spareErr = nil
	j.mu.Unlock()
	s, err := j.makeSpare()
	j.mu.Lock()
	select {
	case <-j.urgent:
	default:
	}
	j.spare, j.spareErr = s, err
	fault := err != nil && !errors.Is(err, ErrBound)
	if fault {
		j.stats.Faults++
	}
	j.mu.Unlock()
	signal(j.spared)
	if fault && !j.hasEnded() {
		j.options.OnFault(err)
	}
	return err
}

func (j *Journal) makeSpare() (*segment, error) {
	s, err := j.takeFile()
	if err != nil {
		return nil, err
	}
	j.number++
	s.number = j.number
	b := make([]byte, 0, sector)
	b = frame{version: formatVersion, salt: j.salt, number: s.number}.append(b)[:sector]
	if _, err = s.file.WriteAt(b, 0); err == nil {
		err = s.file.Sync()
	}
	if err == nil {
		err = j.options.FS.Sync()
	}
	if err != nil {
		j.giveUp(s)
		return nil, err
	}
	return s, nil
}

// takeFile returns a file for a segment: the oldest trimmed one or a new one. At MaxBytes it trims the oldest segment, if it may.
func (j *Journal) takeFile() (*segment, error) {
	for {
		if s := j.usedFile(); s != nil {
			return s, nil
		}
		s, err := j.newFile()
		if !errors.Is(err, ErrBound) || !j.trim(j.options.Reclaim(), 1) {
			return s, err
		}
	}
}

// giveUp marks a file without groups for removal.
func (j *Journal) giveUp(s *segment) {
	j.mu.Lock()
	j.spoiled = append(j.spoiled, s)
	j.mu.Unlock()
	_, _ = j.tidy() // it reports its error, and is retried
}

// usedFile takes the oldest trimmed file that can be used again. Older files that cannot must
// be removed first: after a crash the remaining segments must have no gaps.
func (j *Journal) usedFile() *segment {
	for busy := true; busy; {
		var err error
		if busy, err = j.tidy(); err != nil {
			return nil
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.trimmed) == 0 {
		return nil
	}
	s := j.trimmed[0]
	j.trimmed = j.trimmed[1:]
	return &segment{name: s.name, file: s.file, size: s.size, end: sector}
}

// reusable reports whether the file of a trimmed segment can be used again. mu is held.
func (j *Journal) reusable(s *segment) bool {
	return !s.final && !s.damaged && s.size == j.options.SegmentSize
}

// newFile makes a file of zeroes. It writes them, because a disk syncs data faster that overwrites written space
// than data in space that was only allocated.
func (j *Journal) newFile() (*segment, error) {
	if err := j.checkSpace(); err != nil {
		return nil, err
	}
	j.serial++
	s := &segment{name: fmt.Sprintf("%08d%s", j.serial, segmentSuffix), size: j.options.SegmentSize, end: sector}
	var err error
	if s.file, err = j.options.FS.Create(s.name); err != nil {
		return nil, err
	}
	j.mu.Lock()
	j.bytes += s.size
	j.mu.Unlock()
	if err = s.file.Allocate(s.size); err == nil {
		err = j.zero(s)
	}
	if err != nil {
		j.giveUp(s)
		return nil, err
	}
	return s, nil
}

// zeroPiece is how much of a new file is written and synced at once.
const zeroPiece = 256 << 10

// zero writes zeroes into a file in pieces, and leaves the disk to the committer between them, unless the committer waits for the
// file.
func (j *Journal) zero(s *segment) error {
	piece := make([]byte, min(zeroPiece, s.size))
	for at := int64(0); at < s.size; at += int64(len(piece)) {
		begun := time.Now()
		piece = piece[:min(int64(len(piece)), s.size-at)]
		if _, err := s.file.WriteAt(piece, at); err != nil {
			return err
		}
		if err := s.file.Sync(); err != nil {
			return err
		}
		if j.hasEnded() {
			return ErrClosed
		}
		j.yield(3 * time.Since(begun))
	}
	return nil
}

// yield waits for d, unless the committer waits for a segment.
func (j *Journal) yield(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-j.urgent:
		signal(j.urgent) // it stays set until there is a segment
	case <-j.committed:
	}
}

// checkSpace returns an error unless a new file may be made.
func (j *Journal) checkSpace() error {
	o := &j.options
	j.mu.Lock()
	bytes := j.bytes
	j.mu.Unlock()
	if o.MaxBytes > 0 && bytes+o.SegmentSize > o.MaxBytes {
		return fmt.Errorf("%w: %d of %d bytes", ErrBound, bytes, o.MaxBytes)
	}
	if o.Reserve == 0 {
		return nil
	}
	free, err := o.FS.Free()
	if err == nil && free-o.SegmentSize < o.Reserve {
		err = fmt.Errorf("%w: the file system has %d bytes, of which %d are reserved", ErrSpace, free, o.Reserve)
	}
	return err
}

// tidy removes one file that is not needed, and reports whether there was one. If that fails, the same file is
// the next one.
func (j *Journal) tidy() (busy bool, err error) {
	j.mu.Lock()
	if n := len(j.trimmed); len(j.spoiled) == 0 && n > 0 && (n > len(j.segments)+2 || !j.reusable(j.trimmed[0])) {
		j.spoiled, j.trimmed = append(j.spoiled, j.trimmed[0]), j.trimmed[1:]
	}
	if len(j.spoiled) == 0 {
		j.mu.Unlock()
		return false, nil
	}
	s := j.spoiled[0]
	j.mu.Unlock()
	err = j.retire(s)
	j.mu.Lock()
	if err == nil {
		j.spoiled = j.spoiled[1:]
	} else {
		j.stats.Faults++
	}
	j.mu.Unlock()
	if err != nil {
		j.options.OnFault(err)
	}
	return true, err
}

// retire takes a file out of the journal: it removes the file, or sets it aside if safe records in it were
// spoilt. It may be called again after an error.
func (j *Journal) retire(s *segment) error {
	_ = j.closeFiles([]*segment{s}) // nobody needs the content
	j.mu.Lock()
	damaged := s.damaged
	j.mu.Unlock()
	directory, err := j.options.FS, error(nil)
	if damaged {
		err = setAside(directory, s.name)
	} else {
		err = directory.Remove(s.name)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err = directory.Sync(); err != nil {
		return err
	}
	j.mu.Lock()
	j.bytes -= s.size
	j.mu.Unlock()
	return nil
}
