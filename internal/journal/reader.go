package journal

import (
	"context"
	"fmt"
	"hash/crc32"
)

// Record is a record of the journal.
type Record struct {
	Place Place
	Data  []byte // valid until the reader's next call
}

// Gap is an error: the records From <= place < To cannot be read.
type Gap struct {
	From, To Place
	Trimmed  bool // they were given up; else the disk has spoilt them
}

func (g *Gap) Error() string {
	why := "spoilt on the disk"
	if g.Trimmed {
		why = "trimmed"
	}
	return fmt.Sprintf("journal: %d records from place %d are gone: %s", g.To-g.From, g.From, why)
}

// Reader reads the records of a journal in order. It belongs to one goroutine. It has no need to be closed.
type Reader struct {
	j     *Journal
	place Place // of the next record to give

	segment *segment // that place is in; nil if that is unknown
	off     int64    // where its next group begins
	limit   Place    // what is behind it is not safe, or is in the next segment
	window  window

	// What is left of the group that is being read.
	rest  []byte
	at    Place // of its first record
	until Place // behind its last record
	bad   bool  // the CRC of the whole does not hold
}

// Reader returns a reader that begins at a place; 0 is the oldest record.
func (j *Journal) Reader(from Place) *Reader {
	if from == 0 {
		from = j.First()
	}
	return &Reader{j: j, place: from}
}

// Next returns the next record. At the end it waits for one, or for the end of ctx: a ctx that has ended
// already gets what is there. A *Gap says which records are missing; Next goes on behind them.
func (r *Reader) Next(ctx context.Context) (Record, error) {
	for {
		if r.at < r.until {
			rec, err := r.cut()
			if err != nil || rec.Place != 0 {
				return rec, err
			}
			continue
		}
		if err := r.j.find(ctx, r); err != nil {
			return Record{}, err
		}
		if err := r.load(); err != nil {
			return Record{}, err
		}
	}
}

// cut takes the next record off the group. It returns none if the record was given before.
func (r *Reader) cut() (Record, error) {
	data, rest, good, ok := cutRecord(r.j.salt, r.rest)
	if !ok {
		r.at = r.until // where the other records begin is unknown
		return Record{}, r.lost(r.until)
	}
	rec := Record{Place: r.at, Data: data}
	r.rest = rest
	r.at++
	switch {
	case rec.Place < r.place:
		return Record{}, nil
	case r.bad && !good:
		return Record{}, r.lost(r.at)
	}
	r.place = r.at
	return rec, nil
}

// lost says that the records before to cannot be read, and goes on there.
func (r *Reader) lost(to Place) error {
	g := &Gap{From: r.place, To: to}
	r.place = to
	r.j.mu.Lock()
	r.segment.damaged = true
	r.j.mu.Unlock()
	return g
}

// find sets the segment and the limit of a reader that needs a group. It waits while there is none.
func (j *Journal) find(ctx context.Context, r *Reader) error {
	if j.isClosing() {
		return ErrClosed
	}
	j.mu.Lock()
	for r.place >= j.intake.safe {
		if j.news == nil {
			j.news = make(chan struct{})
		}
		news := j.news
		j.mu.Unlock()
		select {
		case <-news:
		case <-j.closing:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
		j.mu.Lock()
	}
	defer j.mu.Unlock()
	if first := j.first(); r.place < first {
		g := &Gap{From: r.place, To: first, Trimmed: true}
		r.place, r.segment = first, nil
		return g
	}
	i := len(j.segments) - 1
	for j.segments[i].first > r.place {
		i--
	}
	s, limit := j.segments[i], j.intake.safe
	if i+1 < len(j.segments) {
		limit = j.segments[i+1].first
	}
	if s != r.segment {
		r.segment, r.off, r.limit = s, sector, 0
		r.window.file = s.file
	}
	if limit != r.limit { // what the window has may have been read while it was written
		r.limit = limit
		r.window.forget(s.end)
	}
	return nil
}

// load reads the next group of the segment. It may be one whose records were all given before.
func (r *Reader) load() error {
	s := r.segment
	h, at, ok := r.window.locate(r.off, func(h head) bool {
		return h.salt == r.j.salt && h.segment == s.number && h.place < r.limit
	})
	var body []byte
	if ok && h.next() > r.place {
		body = r.window.view(at+headSize, int(h.length))
	}
	switch {
	case r.j.isClosing(): // the file may have been closed while it was read
		return ErrClosed
	case !r.j.holds(s): // it may have been used for another segment while it was read
		r.segment = nil
		return nil
	case !ok:
		return r.lost(r.limit)
	case h.place > r.place:
		r.off = at
		return r.lost(h.place)
	}
	r.off = at + h.size()
	if body != nil {
		r.rest, r.at, r.until = body, h.place, min(h.next(), r.limit)
		r.bad = crc32.Checksum(body, castagnoli) != h.crc
	}
	return nil
}

// holds reports whether a segment is not trimmed.
func (j *Journal) holds(s *segment) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.segments) > 0 && j.segments[0].number <= s.number
}
