package kafka

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

type partitionID struct {
	topic string
	n     int32
}

// marks guards what is known of partitions.
type marks struct {
	mu sync.Mutex
	// changed is closed and replaced when a record is answered. Guarded by mu.
	changed chan struct{}
}

// partition is the records of one partition that are taken and not yet marked, in order.
type partition struct {
	line []*entry
	next int64 // offset behind the last record that is marked; -1 before the first is taken
}

type entry struct {
	record   *kgo.Record
	answered bool // it is confirmed
	failed   bool // it never will be, in this run
}

func newPartition() *partition { return &partition{next: -1} }

// assigned notes that this member has got partitions. The client calls it.
func (r *run) assigned(_ context.Context, _ *kgo.Client, which map[string][]int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for topic, numbers := range which {
		for _, n := range numbers {
			r.partitions[partitionID{topic, n}] = newPartition()
		}
	}
}

// begin notes that a record is taken. It returns what is to be called when it is answered.
func (r *run) begin(record *kgo.Record) (confirmed func(error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := partitionID{record.Topic, record.Partition}
	p := r.partitions[id]
	if p == nil {
		p = newPartition()
		r.partitions[id] = p
	}
	if p.next < 0 {
		p.next = record.Offset
	}
	e := &entry{record: record}
	p.line = append(p.line, e)
	return func(err error) { r.answer(id, p, e, err) }
}

// answer notes what became of a record, and marks those that are confirmed without a gap.
func (r *run) answer(id partitionID, p *partition, e *entry, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.answered, e.failed = err == nil, err != nil
	n := 0
	for n < len(p.line) && p.line[n].answered {
		n++
	}
	if n > 0 && r.partitions[id] == p { // it is this member's still
		last := p.line[n-1].record
		p.next = last.Offset + 1
		r.client.MarkCommitRecords(last)
	}
	clear(p.line[:n])
	p.line = p.line[n:]
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// next returns, of each partition, the offset of the next record that is not marked; -1 if none was taken.
func (r *run) next() map[partitionID]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[partitionID]int64)
	for id, p := range r.partitions {
		all[id] = p.next
	}
	return all
}

// revoked waits for the records of partitions that are under way, commits what is confirmed, and forgets the partitions. The client calls it, also at
// its end.
func (r *run) revoked(ctx context.Context, c *kgo.Client, which map[string][]int32) {
	wait, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		changed, busy := r.busy(which)
		if !busy {
			break
		}
		select {
		case <-changed:
			continue
		case <-wait.Done():
		}
		break
	}
	commit, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	if err := c.CommitMarkedOffsets(commit); err != nil {
		r.source.log.Warn("offsets cannot be committed: what came last comes again", "error", err)
	}
	r.lost(ctx, c, which)
}

// busy reports whether records of partitions may still be confirmed, and returns what is closed when that has changed.
func (r *run) busy(which map[string][]int32) (changed <-chan struct{}, is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for topic, numbers := range which {
		for _, n := range numbers {
			if p := r.partitions[partitionID{topic, n}]; p != nil && len(p.line) > 0 && !p.line[0].failed {
				is = true
			}
		}
	}
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.changed, is
}

// lost forgets partitions.
func (r *run) lost(_ context.Context, _ *kgo.Client, which map[string][]int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for topic, numbers := range which {
		for _, n := range numbers {
			delete(r.partitions, partitionID{topic, n})
		}
	}
}
