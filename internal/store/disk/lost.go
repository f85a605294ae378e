package disk

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/store"
)

// Lost are operations that were safe and that the disk has spoilt. What they changed was in them; the operations beside them
// say when that was.
type Lost struct {
	First, Last               uint64
	Found                     time.Time
	DeviceBefore, DeviceAfter string // of the operations beside them; empty if unknown
}

// keptLost is how many ranges are remembered.
const keptLost = 100

// lostRanges are the newest ranges that were found.
type lostRanges struct {
	mu  sync.Mutex
	all []Lost
}

// add adds a range, to the last one if that ends where it begins.
func (l *lostRanges) add(lost Lost) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.all); n > 0 && l.all[n-1].Last+1 == lost.First {
		l.all[n-1].Last, l.all[n-1].DeviceAfter = lost.Last, lost.DeviceAfter
		return
	}
	if len(l.all) == keptLost {
		l.all = slices.Delete(l.all, 0, 1)
	}
	l.all = append(l.all, lost)
}

// Lost returns what the disk has spoilt since Open, of many ranges the newest 100.
func (s *Store) Lost() []Lost {
	s.ranges.mu.Lock()
	defer s.ranges.mu.Unlock()
	return slices.Clone(s.ranges.all)
}

// deviceAt returns the device of an operation; nothing if that has none, or cannot be read. It reads the disk.
func deviceAt(j *journal.Journal, place journal.Place) string {
	if place < j.First() || place >= j.End() {
		return ""
	}
	rec, err := j.Reader(place).Next(ended)
	if err != nil || rec.Place != place {
		return ""
	}
	op, err := store.ParseOp(rec.Data)
	if err != nil {
		return ""
	}
	return strings.Clone(op.Device)
}
