package journal

import (
	"fmt"
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
	gatherSteps = 4 // of SyncDelay
	fewGathered = 8 // records and fences that are written at once
)

// gather waits while many records come, for SyncDelay at most. In each step a sixteenth of the group must have come.
// So it costs publishers that wait for their answers one step: when all of them wait, nothing comes.
func (j *Journal) gather() {
	n, half := j.gathered()
	few := n <= fewGathered && j.gathers <= fewGathered
	j.gathers = n
	if few || half || j.options.SyncDelay <= 0 {
		return
	}
	timer := time.NewTimer(j.options.SyncDelay / gatherSteps)
	defer timer.Stop()
	for steps := 0; steps < gatherSteps && !half; {
		select {
		case <-j.closing:
			return
		case <-j.work:
			_, half = j.gathered()
			continue
		case <-timer.C:
			timer.Reset(j.options.SyncDelay / gatherSteps)
			steps++
		}
		before := n
		if n, half = j.gathered(); n-before < max(1, n/16) {
			break
		}
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
		signal(j.prepare)
	}
	for _, done := range claims {
		done(err)
	}
	j.mu.Lock()
	j.intake.release()
	j.mu.Unlock()
}

// write writes a batch to the disk. A file whose write or sync failed is not written again, because nobody knows
// what the disk has of it: the group goes to another segment, once.
func (j *Journal) write(b *batch) error {
	if b.count == 0 {
		return nil // a fence: everything before it is safe
	}
	err := j.writeGroup(b)
	if err != nil && j.current != nil {
		j.abandon(err)
		err = j.writeGroup(b)
		if err != nil && j.current != nil {
			j.abandon(err)
		}
	}
	return err
}

// writeGroup writes and syncs a batch as a group of the current segment, or of the next one if it does not
// fit. If that fails, current is the segment that failed, nil if there was no segment.
func (j *Journal) writeGroup(b *batch) error {
	size := groupSize(b.length())
	if s := j.current; s == nil || s.end+size > s.size {
		j.current = nil
		s, err := j.nextSegment()
		if err != nil {
			return err
		}
		j.current = s
	}
	s := j.current
	h := head{
		salt: j.salt, segment: s.number, first: s.first, place: b.first,
		count: b.count, length: uint32(b.length()),
	}
	if s.first == 0 {
		h.first = b.first
	}
	if err := j.put(s, b.group(h)); err != nil {
		return err
	}
	j.marked = b.count == 0
	j.mu.Lock()
	defer j.mu.Unlock()
	if s.first == 0 {
		s.first = h.first
		j.segments = append(j.segments, s)
	}
	s.end += size
	j.stats.Groups++
	j.stats.Records += uint64(b.count)
	j.stats.Bytes += uint64(size)
	return nil
}

// put writes and syncs the bytes of a group at the end of a segment.
func (j *Journal) put(s *segment, group []byte) error {
	j.mu.Lock()
	j.syncing = time.Now()
	j.mu.Unlock()
	_, err := s.file.WriteAt(group, s.end)
	if err == nil {
		err = s.file.Sync()
	}
	j.mu.Lock()
	j.stats.Syncs++
	j.stats.SyncTime += time.Since(j.syncing)
	j.syncing = time.Time{}
	j.mu.Unlock()
	return err
}

// nextSegment returns the segment that the preparer has ready; it waits while the preparer is making one.
func (j *Journal) nextSegment() (*segment, error) {
	for {
		j.mu.Lock()
		s, err := j.spare, j.spareErr
		j.spare = nil
		j.mu.Unlock()
		if s != nil {
			signal(j.prepare)
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		signal(j.urgent)
		<-j.spared
	}
}

// abandon stops using the current segment after a write or sync failed.
func (j *Journal) abandon(err error) {
	s := j.current
	j.current = nil
	j.mu.Lock()
	s.final = true
	if s.first == 0 {
		j.spoiled = append(j.spoiled, s)
	}
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
	if err := j.writeGroup(b); err != nil && j.current != nil {
		j.abandon(err)
	}
}
