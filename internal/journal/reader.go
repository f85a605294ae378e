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
	Trimmed  bool // dropped by Trim; otherwise spoilt on the disk
}

func (g *Gap) Error() string {
	why := "spoilt on the disk"
	if g.Trimmed {
		why = "trimmed"
	}
	return fmt.Sprintf("journal: %d records from place %d are gone: %s", g.To-g.From, g.From, why)
}

// Reader reads the records of a journal in order. One goroutine uses it. It need not be closed.
type Reader struct {
	j     *Journal
	place Place // of the next record to return

	segment *segment // the segment that contains place; nil if unknown
	off     int64    // the offset of its next group; 0 if unknown
	limit   Place    // from here on, records are not safe or are in the next segment
	window  window

	// The rest of the current group.
	rest  []byte
	at    Place // of its first record
	until Place // after its last record
	bad   bool  // the CRC of the whole group is wrong
}

// Reader returns a reader that begins at a place; 0 means the oldest record.
func (j *Journal) Reader(from Place) *Reader {
	if from == 0 {
		from = j.First()
	}
	return &Reader{j: j, place: from}
}

// Next returns the next record. At the end it waits for one, or until ctx ends; a ctx that has already
// ended still gets existing records. A *Gap says which records are missing; Next continues after them.
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

// cut takes the next record off the group. It returns none if the reader is already past it.
func (r *Reader) cut() (Record, error) {
	data, rest, good, ok := cutRecord(r.j.salt, r.rest)
	if !ok {
		r.at = r.until // the start of the other records is unknown
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

// lost returns the error for the records before to, which cannot be read, and continues there.
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
		r.window.shrink()
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
		r.segment, r.off, r.limit = s, 0, 0
		r.window.file = s.file
		if r.place == s.first {
			r.off = sector
		}
	}
	if limit != r.limit { // the window may hold bytes that were read during their write
		r.limit = limit
		r.window.forget(s.end)
	}
	return nil
}

// load reads the next group of the segment. The reader may already be past all of its records.
func (r *Reader) load() error {
	s := r.segment
	own := func(h head) bool { return h.salt == r.j.salt && h.segment == s.number && h.place < r.limit }
	if r.off == 0 {
		w := window{file: s.file, end: r.window.end, piece: seekPiece}
		r.off = w.seek(r.place, own)
	}
	h, at, ok := r.window.locate(r.off, own)
	var body []byte
	if ok && h.next() > r.place {
		body = r.window.view(at+headSize, int(h.length))
	}
	switch {
	case r.j.isClosing(): // the file may have been closed during the read
		return ErrClosed
	case !r.j.holds(s): // the file may have been reused for another segment during the read
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

// Left returns how many bytes of the files the records take that r has not returned yet, and what is between them. It holds
// after a call of Next that returned a record. Of a segment that was written before Open it may count an unused rest.
func (r *Reader) Left() int64 {
	r.j.mu.Lock()
	defer r.j.mu.Unlock()
	n := int64(len(r.rest))
	for _, s := range r.j.segments {
		switch {
		case s == r.segment:
			n += s.end - r.off
		case r.segment == nil || s.order > r.segment.order:
			n += s.end - sector
		}
	}
	return n
}

// holds reports whether a segment is not trimmed.
func (j *Journal) holds(s *segment) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.segments) > 0 && j.segments[0].order <= s.order
}
