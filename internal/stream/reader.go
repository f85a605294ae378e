package stream

import (
	"context"
	"time"

	"github.com/longline/longline/internal/message"
)

// Start says where a reader begins. The zero value is First.
type Start struct {
	from  from
	place uint64
	time  time.Time
}

type from uint8

const (
	fromFirst from = iota
	fromLatest
	fromAfter
	fromTime
)

var (
	// First begins with the oldest entry.
	First = Start{}
	// Latest begins with the next entry that comes.
	Latest = Start{from: fromLatest}
)

// After begins behind the entry at a place.
func After(place uint64) Start { return Start{from: fromAfter, place: place} }

// At begins with the first entry that came at t or later.
func At(t time.Time) Start { return Start{from: fromTime, time: t} }

// Entry is a message of a stream.
type Entry struct {
	Place   uint64
	Time    time.Time // when the stream took it; ascending
	Message *message.Message
}

// Reader reads the entries of a stream in order. One goroutine calls Take.
type Reader struct{}

// Take waits for an entry and returns those that are there, in order: at most so many messages and, unless the first
// alone has more, bytes of topics, payloads and properties. missed is how many entries before them were dropped or
// cannot be read; if it is not 0, there may be no entries. The batch is appended to room[:0].
//
// The error is ctx's, ErrTakenOver, ErrDeleted or ErrClosed; then there is no batch.
func (r *Reader) Take(ctx context.Context, messages, bytes int, room []Entry) (batch []Entry, missed uint64, err error) {
	return nil, 0, ErrClosed
}

// Place returns the place of the next entry. Only the goroutine that calls Take calls it.
func (r *Reader) Place() uint64 { return 0 }

// Close ends the reader. It may be called more than once, and from any goroutine.
func (r *Reader) Close() {}
