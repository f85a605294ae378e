package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// segmentSuffix ends the names of segment files, damagedSuffix the names of files that were set aside.
const (
	segmentSuffix = ".segment"
	damagedSuffix = ".damaged"
)

// keptDamaged is how many files that were set aside are kept.
const keptDamaged = 4

// keepReady is the preparer's goroutine. It keeps one segment ready, ends failures, finds out when a sick directory is
// well, and removes files that are not needed. It ends after the committer.
func (d *directory) keepReady() {
	defer close(d.prepared)
	var pause time.Duration // after a failed preparation
	for !d.j.hasEnded() {
		now := d.state()
		switch {
		case now.wanted || now.failed:
			d.rest(max(now.rest, pause))
			failed := d.state().failed // not later: the journal may fail again while the spare is made
			if now.wanted && d.prepareSpare() != nil {
				pause = nextPause(pause)
				continue
			}
			pause = 0
			if failed {
				d.j.heal()
			}
		case now.sick:
			d.probe()
		default:
			busy, err := d.tidy()
			if err != nil {
				pause = nextPause(pause)
				d.rest(pause)
			} else if pause = 0; !busy {
				d.await()
			}
		}
	}
}

// await returns when the preparer may have something to do.
func (d *directory) await() {
	select {
	case <-d.prepare:
	case <-d.freed:
	case <-d.j.committed:
	}
}

// state is what a preparer has to do.
type state struct {
	wanted bool          // a spare
	failed bool          // the journal fails
	rest   time.Duration // how long to wait before ending that
	sick   bool
}

func (d *directory) state() state {
	d.j.mu.Lock()
	defer d.j.mu.Unlock()
	now := state{wanted: d.spare == nil && !d.leaves, sick: d.sick}
	if now.failed = errors.Is(d.j.intake.err, ErrFailed); now.failed {
		now.rest = d.j.pause
	}
	return now
}

// nextPause returns how long to wait after another failure in a row.
func nextPause(last time.Duration) time.Duration {
	const least, most = 100 * time.Millisecond, 5 * time.Second
	return min(max(2*last, least), most)
}

// rest waits for a time, or until segments are trimmed, which may be what was missing.
func (d *directory) rest(pause time.Duration) {
	if pause == 0 {
		return
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-d.freed:
	case <-d.j.committed:
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
func (d *directory) prepareSpare() error {
	j := d.j
	j.mu.Lock()
	d.spareErr = nil
	j.mu.Unlock()
	s, err := d.makeSpare()
	j.mu.Lock()
	d.reusing = false
	d.nextTrimmed()
	select {
	case <-d.urgent:
	default:
	}
	d.spare, d.spareErr = s, err
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

func (d *directory) makeSpare() (*segment, error) {
	s, err := d.takeFile()
	if err != nil {
		return nil, err
	}
	d.j.mu.Lock()
	d.j.number++
	s.number = d.j.number
	d.j.mu.Unlock()
	if err = d.writeFrame(s); err == nil {
		err = d.fs.Sync()
	}
	if err != nil {
		d.giveUp(s)
		return nil, err
	}
	return s, nil
}

// takeFile returns a file for a segment: the oldest trimmed one or a new one. At MaxBytes it trims the oldest segment, if it may.
func (d *directory) takeFile() (*segment, error) {
	for {
		if s := d.usedFile(); s != nil {
			return s, nil
		}
		s, err := d.newFile()
		if !errors.Is(err, ErrBound) || !d.reclaim() {
			return s, err
		}
	}
}

// reclaim trims the oldest segment, if it may, and reports whether it is in this directory.
func (d *directory) reclaim() bool {
	if !d.j.trim(d.j.options.Reclaim(), 1) {
		return false
	}
	d.j.mu.Lock()
	defer d.j.mu.Unlock()
	d.nextTrimmed()
	return len(d.j.trimmed) > 0 && d.j.trimmed[0].dir == d
}

// writeFrame writes and syncs the first sector of a segment without groups.
func (d *directory) writeFrame(s *segment) error {
	b := make([]byte, 0, sector)
	b = frame{version: formatVersion, salt: d.j.salt, number: s.number}.append(b)[:sector]
	if _, err := s.file.WriteAt(b, 0); err != nil {
		return err
	}
	return s.file.Sync()
}

// giveUp marks a file without groups for removal.
func (d *directory) giveUp(s *segment) {
	d.j.mu.Lock()
	d.spoiled = append(d.spoiled, s)
	d.j.mu.Unlock()
	_, _ = d.tidy() // it reports its error, and is retried
}

// usedFile takes the oldest trimmed file, if it can be used again. Those that cannot are removed before.
func (d *directory) usedFile() *segment {
	for busy := true; busy; {
		var err error
		if busy, err = d.tidy(); err != nil {
			return nil
		}
	}
	j := d.j
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.oldestTrimmed(d)
	if s == nil {
		return nil
	}
	j.trimmed = j.trimmed[1:]
	d.reusing = true
	return &segment{name: s.name, dir: d, file: s.file, size: s.size, end: sector}
}

// oldestTrimmed returns the oldest trimmed segment, if it is in d and no older file has to be removed first: after a crash the
// segments that remain must have no gaps. mu is held.
func (j *Journal) oldestTrimmed(d *directory) *segment {
	if len(j.trimmed) == 0 || j.trimmed[0].dir != d {
		return nil
	}
	for _, other := range j.dirs {
		if len(other.spoiled) > 0 || other.late > 0 || other.reusing {
			return nil
		}
	}
	return j.trimmed[0]
}

// nextTrimmed tells the other directory's preparer that it may have the oldest trimmed file now. mu is held.
func (d *directory) nextTrimmed() {
	if trimmed := d.j.trimmed; len(trimmed) > 0 && trimmed[0].dir != d {
		signal(trimmed[0].dir.freed)
	}
}

// takesRoom reports whether a file that could be used again here is what another directory has no room for. mu is held.
func (d *directory) takesRoom() bool {
	return slices.ContainsFunc(d.j.dirs, func(other *directory) bool { return other != d && errors.Is(other.spareErr, ErrBound) })
}

// tellOthers tells the other directory's preparer that a file is gone. mu is held.
func (d *directory) tellOthers() {
	for _, other := range d.j.dirs {
		if other != d {
			signal(other.freed)
		}
	}
}

// reusable reports whether the file of a trimmed segment can be used again. mu is held.
func (j *Journal) reusable(s *segment) bool {
	return !s.final && !s.damaged && !s.dir.leaves && s.size == j.options.SegmentSize
}

// newFile makes a file of zeroes. It writes them, because a disk syncs data faster that overwrites written space
// than data in space that was only allocated.
func (d *directory) newFile() (*segment, error) {
	if err := d.checkSpace(); err != nil {
		return nil, err
	}
	j := d.j
	j.mu.Lock()
	j.serial++
	name := fmt.Sprintf("%08d%s", j.serial, segmentSuffix)
	j.mu.Unlock()
	s := &segment{name: name, dir: d, size: j.options.SegmentSize, end: sector}
	var err error
	if s.file, err = d.fs.Create(s.name); err != nil {
		return nil, err
	}
	j.mu.Lock()
	d.bytes += s.size
	j.mu.Unlock()
	if err = s.file.Allocate(s.size); err == nil {
		err = d.zero(s)
	}
	if err != nil {
		d.giveUp(s)
		return nil, err
	}
	return s, nil
}

// zeroPiece is how much of a new file is written and synced at once.
const zeroPiece = 256 << 10

// zero writes zeroes into a file in pieces, and leaves the disk to the committer between them, unless the committer waits for the
// file.
func (d *directory) zero(s *segment) error {
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
		if d.j.hasEnded() {
			return ErrClosed
		}
		d.yield(3 * time.Since(begun))
	}
	return nil
}

// yield waits for a time, unless the committer waits for a segment.
func (d *directory) yield(pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-d.urgent:
		signal(d.urgent) // it stays set until there is a segment
	case <-d.j.committed:
	}
}

// checkSpace returns an error unless a new file may be made.
func (d *directory) checkSpace() error {
	o := &d.j.options
	bytes := o.Others()
	d.j.mu.Lock()
	for _, d := range d.j.dirs {
		bytes += d.bytes
	}
	d.j.mu.Unlock()
	if o.MaxBytes > 0 && bytes+o.SegmentSize > o.MaxBytes {
		return fmt.Errorf("%w: %d of %d bytes", ErrBound, bytes, o.MaxBytes)
	}
	if o.Reserve == 0 {
		return nil
	}
	free, err := d.fs.Free()
	if err == nil && free-o.SegmentSize < o.Reserve {
		err = fmt.Errorf("%w: the file system has %d bytes, of which %d are reserved", ErrSpace, free, o.Reserve)
	}
	return err
}

// tidy removes one file that is not needed, and reports whether there was one. If that fails, the same file is
// the next one.
func (d *directory) tidy() (busy bool, err error) {
	j := d.j
	j.mu.Lock()
	if s := j.oldestTrimmed(d); s != nil && (len(j.trimmed) > len(j.segments)+2 || !j.reusable(s) || d.takesRoom()) {
		d.spoiled, j.trimmed = append(d.spoiled, s), j.trimmed[1:]
	}
	if len(d.spoiled) == 0 {
		j.mu.Unlock()
		return false, nil
	}
	s := d.spoiled[0]
	j.mu.Unlock()
	err = j.retire(s)
	j.mu.Lock()
	if err == nil {
		d.spoiled = d.spoiled[1:]
		d.tellOthers()
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
	var err error
	if damaged {
		err = setAside(s.dir.fs, s.name)
	} else {
		err = s.dir.fs.Remove(s.name)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err = s.dir.fs.Sync(); err != nil {
		return err
	}
	j.mu.Lock()
	s.dir.bytes -= s.size
	j.mu.Unlock()
	return nil
}
