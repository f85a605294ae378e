package journal

import (
	"context"
	"errors"
)

// ended is a context for readers that do not wait.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// Search returns the place of the first record for which reached returns true, End if there is none. Behind such a record
// are only such records. It reads from the disk, one group per step of a binary search.
func (j *Journal) Search(reached func(record []byte) bool) Place {
	low, high := j.First(), j.End()
	for low < high {
		middle := low + (high-low)/2
		rec, ok := j.readable(middle)
		if ok && rec.Place < high && !reached(rec.Data) {
			low = rec.Place + 1
		} else {
			high = middle
		}
	}
	return low
}

// readable returns the first record at or after place that can be read.
func (j *Journal) readable(place Place) (Record, bool) {
	r := j.Reader(place)
	for {
		rec, err := r.Next(ended)
		var gap *Gap
		if !errors.As(err, &gap) {
			return rec, err == nil
		}
	}
}
