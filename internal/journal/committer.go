package journal

import (
	"fmt"
	"slices"
	"time"
)

// commit is the committer's goroutine. It ends when the journal is closed and no batch is left.
func (j *Journal) commit() {
	defer close(j.committed)
	for {
		switch {
		case j.waits():
			j.gather()
			b := j.take()
			j.settle(b, j.write(b))
		case j.isClosing():
			j.mark()
			return
		default:
			select {
			case <-j.work:
			case <-j.closing:
			}
		}
	}
}

// waits reports whether the next group has anything to write or to answer.
func (j *Journal) waits() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.intake.filling.empty()
}

// gathered returns how many records and fences the next group has, and whether it is half full.
func (j *Journal) gathered() (n int, half bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := j.intake.filling
	return max(int(b.count), len(b.claims)), b.length() > j.options.Pending/2
}

func (j *Journal) isClosing() bool {
	select {
	case <-j.closing:
		return true
	default:
		return false
	}
}

const (
	gatherSteps = 2 // of SyncDelay; the runtime's timers take a millisecond at least
	fewGathered = 8 // records and fences that are written at once
)

// gather waits while many records come, for SyncDelay at most. In each step a sixteenth of the group must have come.
// So it costs publishers that wait for their answers one step: when all of them wait, nothing comes. While records come steadily, one
// step is the whole SyncDelay, because each step costs as much as some records.
func (j *Journal) gather() {
	n, half := j.gathered()
	few := n <= fewGathered && j.gathers <= fewGathered
	j.gathers = n
	if few || half || j.options.SyncDelay <= 0 {
		j.steadily = false
		return
	}
	steps := gatherSteps
	if j.steadily {
		steps = 1
	}
	step := j.options.SyncDelay / time.Duration(steps)
	timer := time.NewTimer(step)
	defer timer.Stop()
	for j.steadily = true; steps > 0 && j.steadily && !half; {
		select {
		case <-j.closing:
			return
		case <-j.work:
			_, half = j.gathered()
			continue
		case <-timer.C:
			timer.Reset(step)
			steps--
		}
		before := n
		n, half = j.gathered()
		j.steadily = n-before >= max(1, n/16)
	}
	j.gathers = n
}

func (j *Journal) take() *batch {
	j.mu.Lock()
	b, room := j.intake.take()
	j.mu.Unlock()
	if room {
		j.options.OnRoom()
	}
	return b
}

// settle calls the claims of a batch with the result of its write.
func (j *Journal) settle(b *batch, err error) {
	j.mu.Lock()
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrFailed, err)
		j.stats.Failures++
		j.stats.Refused += uint64(j.intake.next - j.intake.safe)
		j.pause = nextPause(j.pause)
	} else if b.count > 0 {
		j.pause = 0
	}
	claims := j.intake.settle(err)
	if b.count > 0 {
		j.wakeReaders()
	}
	j.mu.Unlock()
	if err != nil {
		for _, d := range j.dirs {
			signal(d.prepare)
		}
	}
	for _, done := range claims {
		done(err)
	}
	j.mu.Lock()
	j.intake.release()
	j.mu.Unlock()
}

// write writes a batch to the disk. A file whose write or sync failed is not written again, because nobody knows
// what the disk has of it: the group goes to another segment, once. If it takes too long and there is another directory, the
// group goes there as well, and is safe when either has it.
func (j *Journal) write(b *batch) error {
	if b.count == 0 {
		return nil // a fence: everything before it is safe
	}
	return j.writeGroup(b)
}

// attempt is one way to write a group, into one segment. Two may be under way, in different directories.
type attempt struct {
	s    *segment
	h    head
	data []byte

	// Guarded by the journal's mu.
	late  bool // counted in directory.late
	ended bool
	lost  bool // the group is in another segment: if this one has no other, it is removed
}

type result struct {
	*attempt
	err error
}

func (j *Journal) writeGroup(b *batch) error {
	begun := time.Now()
	j.mu.Lock()
	j.syncing = begun
	j.mu.Unlock()
	err := j.attempt(b)
	j.mu.Lock()
	j.stats.Syncs++
	j.stats.SyncTime += time.Since(begun)
	j.syncing = time.Time{}
	j.mu.Unlock()
	return err
}

// attempt writes a group into one segment or two. If that fails, current is nil.
func (j *Journal) attempt(b *batch) error {
	s, err := j.segmentFor(b)
	if err != nil {
		return err
	}
	results := make(chan result, 2)
	open := []*attempt{j.begin(s, b, results)}
	for again := true; ; {
		r, ok := j.wait(results, again && len(open) == 1)
		switch {
		case !ok: // it takes too long
			if s = j.otherSegment(open[0]); s == nil {
				continue
			}
			b.buf = slices.Clone(b.buf) // the first attempt keeps its bytes
		case r.err == nil:
			j.succeed(r.attempt, open)
			if len(open) > 1 {
				b.leaveBuffer()
			}
			return nil
		default:
			j.abandon(r.attempt, r.err)
			open = slices.DeleteFunc(open, func(a *attempt) bool { return a == r.attempt })
			if len(open) > 0 {
				again = false
				continue
			}
			if !again {
				return r.err
			}
			if s, err = j.nextSegment(); err != nil {
				return err
			}
		}
		again = false
		open = append(open, j.begin(s, b, results))
	}
}

// segmentFor returns the current segment, or the next one if the group does not fit, or if the journal can return to its first
// directory.
func (j *Journal) segmentFor(b *batch) (*segment, error) {
	s := j.current
	if s != nil && s.end+groupSize(b.length()) <= s.size && !j.mayReturn(s) {
		return s, nil
	}
	j.current = nil
	return j.nextSegment()
}

func (j *Journal) mayReturn(s *segment) bool {
	first := j.dirs[0]
	if s.dir == first {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return !first.sick && first.spare != nil
}

// begin starts to write and sync a group into a segment, which becomes the current one. The result goes to results, which has room.
// Without a second directory the result is there when begin returns.
func (j *Journal) begin(s *segment, b *batch, results chan<- result) *attempt {
	j.current = s
	if s.first == 0 {
		j.order++
		s.order = j.order
	}
	a := &attempt{s: s, h: head{
		salt: j.salt, segment: s.number, order: s.order, first: s.first, place: b.first,
		count: b.count, length: uint32(b.length()),
	}}
	if s.first == 0 {
		a.h.first = b.first
	}
	a.data = b.group(a.h)
	if len(j.dirs) == 1 {
		results <- result{a, a.put()}
		return a
	}
	j.writes.Go(func() {
		err := a.put()
		j.end(a)
		results <- result{a, err}
	})
	return a
}

// put writes and syncs a group at the end of its segment.
func (a *attempt) put() error {
	if _, err := a.s.file.WriteAt(a.data, a.s.end); err != nil {
		return err
	}
	return a.s.file.Sync()
}

// end notes that an attempt is no longer under way.
func (j *Journal) end(a *attempt) {
	j.mu.Lock()
	defer j.mu.Unlock()
	a.ended = true
	if a.late {
		a.s.dir.late--
		a.s.dir.nextTrimmed()
		signal(a.s.dir.prepare)
	}
	j.drop(a)
}

// drop removes the segment of an attempt that has ended and is lost, if nothing else is in the segment. mu is held.
func (j *Journal) drop(a *attempt) {
	if a.ended && a.lost && a.s.first == 0 {
		a.s.dir.spoiled = append(a.s.dir.spoiled, a.s)
		signal(a.s.dir.prepare)
	}
}

// wait returns the next result. With a second directory, ok is false if stalls is set and none has come within Options.Stall, or since
// something changed after that.
func (j *Journal) wait(results <-chan result, stalls bool) (r result, ok bool) {
	if !stalls || len(j.dirs) == 1 {
		return <-results, true
	}
	if j.isStalled() { // it is overdue already: another segment may be there now
		select {
		case r = <-results:
			return r, true
		case <-j.spared:
			return r, false
		}
	}
	timer := time.NewTimer(j.options.Stall)
	defer timer.Stop()
	select {
	case r = <-results:
		return r, true
	case <-timer.C:
		return r, false
	}
}

// isStalled reports whether the attempt into the current segment takes too long.
func (j *Journal) isStalled() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.current.final
}

// otherSegment returns a spare of a directory that is well, because an attempt takes too long; nil if there is none now. The attempt's
// segment is final.
func (j *Journal) otherSegment(a *attempt) *segment {
	j.mu.Lock()
	first := !a.s.final
	if first {
		a.s.final = true
		a.s.dir.avoid()
		j.setLate(a)
		j.stats.Stalls++
	}
	var s *segment
	for _, d := range j.dirs {
		if d != a.s.dir && !d.sick && d.spare != nil {
			s, d.spare = d.spare, nil
			signal(d.prepare)
		}
	}
	j.mu.Unlock()
	if first {
		j.options.OnFault(fmt.Errorf("write %s: %w: it is under way for %v", a.s.name, errStalled, j.options.Stall))
	}
	return s
}

// setLate counts an attempt that is under way as late. mu is held.
func (j *Journal) setLate(a *attempt) {
	if !a.late && !a.ended {
		a.late = true
		a.s.dir.late++
	}
}

// succeed counts a group that is safe, because of one of the attempts to write it.
func (j *Journal) succeed(a *attempt, open []*attempt) {
	j.marked = a.h.count == 0
	j.mu.Lock()
	defer j.mu.Unlock()
	s := a.s
	if s.first == 0 {
		s.first = a.h.first
		j.segments = append(j.segments, s)
	}
	s.end += a.h.size()
	j.stats.Groups++
	j.stats.Records += uint64(a.h.count)
	j.stats.Bytes += uint64(a.h.size())
	for _, other := range open {
		if other == a {
			continue
		}
		other.lost, other.s.final = true, true
		j.setLate(other)
		j.drop(other)
	}
	if j.current = s; s.final {
		j.current = nil // it was late: the other attempt may have left its group
	}
	j.stats.Aside = s.dir != j.dirs[0]
}

// nextSegment returns a segment that a preparer has ready; it waits while one is being made. It prefers the first directory, unless that
// is slow or fails.
func (j *Journal) nextSegment() (*segment, error) {
	for {
		s, making, err := j.takeSpare()
		if s != nil || err != nil {
			return s, err
		}
		if j.waitForSpare(making) {
			continue
		}
		j.mu.Lock()
		making.avoid()
		j.mu.Unlock()
		j.options.OnFault(fmt.Errorf("a segment is being made: %w: %v", errStalled, j.options.Stall))
	}
}

// takeSpare returns a spare, or the directory in which one is being made, or why there is none.
func (j *Journal) takeSpare() (_ *segment, making *directory, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	dirs := slices.DeleteFunc(slices.Clone(j.dirs), func(d *directory) bool { return d.leaves })
	slices.SortStableFunc(dirs, func(a, b *directory) int { return sickness(a) - sickness(b) })
	for _, d := range dirs {
		switch {
		case d.spare != nil:
			s := d.spare
			d.spare = nil
			signal(d.prepare)
			return s, nil, nil
		case d.spareErr == nil:
			return nil, d, nil
		case err == nil:
			err = d.spareErr
		}
	}
	return nil, nil, err
}

// sickness orders directories: one that hangs comes behind one that fails.
func sickness(d *directory) int {
	switch {
	case d.late > 0:
		return 2
	case d.sick:
		return 1
	}
	return 0
}

// waitForSpare waits until something has changed. It reports false if a directory that is well takes longer than Options.Stall to
// make a segment, and there is another directory that is well.
func (j *Journal) waitForSpare(d *directory) bool {
	signal(d.urgent)
	j.mu.Lock()
	others := !slices.ContainsFunc(j.dirs, func(d *directory) bool { return d.sick })
	j.mu.Unlock()
	if len(j.dirs) == 1 || !others {
		<-j.spared
		return true
	}
	timer := time.NewTimer(j.options.Stall)
	defer timer.Stop()
	select {
	case <-j.spared:
		return true
	case <-timer.C:
		return false
	}
}

// abandon stops using a segment after a write or sync failed.
func (j *Journal) abandon(a *attempt, err error) {
	j.current = nil
	j.mu.Lock()
	a.s.final = true
	a.s.dir.avoid()
	a.lost, a.ended = true, true
	j.drop(a)
	j.stats.Faults++
	j.mu.Unlock()
	j.options.OnFault(err)
}

// mark writes a group without records after the last one. It shows the next Open that the last group
// was complete, so that a byte of it that flips until then is not taken for a crash during its write.
func (j *Journal) mark() {
	if j.current == nil || j.marked {
		return
	}
	b := newBatch()
	b.first = j.End()
	_ = j.writeGroup(b) // without it, the end is as after a kill
}
