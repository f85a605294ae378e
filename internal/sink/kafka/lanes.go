package kafka

import (
	"slices"
	"sync"

	"github.com/longline/longline/internal/sink/pump"
)

// batch is records that one lane has given to the writer.
type batch struct {
	records  []*pump.Record
	finished chan struct{} // closed when done and err are there

	// Owned by the writer until finished is closed.
	done int   // how many of the first are confirmed
	err  error // what became of the next one; nil if all are confirmed
}

// lanes are the batches that lanes wait for, or waited for until their patience was over.
type lanes struct {
	mu sync.Mutex
	// Guarded by mu.
	underway map[*pump.Record]*batch // by the first record
	waiting  []*batch                // for the next round

	news chan struct{} // has an element if waiting may have one
}

func (l *lanes) init() {
	l.underway = make(map[*pump.Record]*batch)
	l.news = make(chan struct{}, 1)
}

// join returns the batch that begins with the first of records: the one that is under way already, or a new one of all records.
func (l *lanes) join(records []*pump.Record) *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.underway[records[0]]; b != nil {
		return b
	}
	b := &batch{records: slices.Clone(records), finished: make(chan struct{})}
	l.underway[records[0]] = b
	l.waiting = append(l.waiting, b)
	select {
	case l.news <- struct{}{}:
	default:
	}
	return b
}

// leave forgets a finished batch, whose lane has got its answer.
func (l *lanes) leave(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.underway, b.records[0])
}

// take returns batches that wait, in order: those of about so many records.
func (l *lanes) take(records int) []*batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for sum := 0; n < len(l.waiting) && (n == 0 || sum+len(l.waiting[n].records) <= records); n++ {
		sum += len(l.waiting[n].records)
	}
	taken := slices.Clone(l.waiting[:n])
	l.waiting = slices.Delete(l.waiting, 0, n)
	if len(l.waiting) > 0 {
		select {
		case l.news <- struct{}{}:
		default:
		}
	}
	return taken
}
