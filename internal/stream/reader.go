package stream

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/longline/longline/internal/journal"
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
	Time    time.Time // when the stream took it; does not descend
	Message *message.Message
}

// Reader reads the entries of a stream in order. One goroutine calls Take and Place.
type Reader struct {
	// Static after Open.
	stream   *Stream
	consumer *consumer // nil without a name
	life     context.Context
	end      context.CancelCauseFunc

	// Owned by the caller of Take.
	journal *journal.Reader // nil before the first entry is looked for
	place   uint64          // of the next entry to look for
	held    Entry           // was read, and had no room in the last batch
	missed  uint64          // entries between the last batch and the next
	saved   chan error      // gets whether the new consumer is safe in the store; nil if that is known
	arena   []byte
}

// ended is a context for reads that do not wait.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// Open returns a reader. With a consumer's name it begins at the consumer's place, and a reader of the consumer that is
// open ends with ErrTakenOver; a new consumer begins at from. Without a name it begins at from. It may read from the
// disk, to find a time: not on a loop.
func (s *Stream) Open(consumer string, from Start) (*Reader, error) {
	if consumer != "" && !validName(consumer) {
		return nil, ErrName
	}
	var start uint64
	if consumer == "" || !s.audience.has(consumer) {
		start = s.find(from)
	}
	r := &Reader{stream: s}
	r.life, r.end = context.WithCancelCause(context.Background())
	if err := s.audience.attach(r, consumer, start); err != nil {
		r.end(err)
		return nil, err
	}
	if saved := r.saved; saved != nil {
		s.options.Store.Commit(func(err error) {
			if err == nil {
				s.audience.keep(r.consumer)
			}
			saved <- err
		})
	}
	return r, nil
}

// find returns the place at which a reader begins.
func (s *Stream) find(from Start) uint64 {
	end := uint64(s.journal.End())
	switch from.from {
	case fromLatest:
		return end
	case fromAfter:
		return min(from.place, end-1) + 1 // a place that is not there yet is not one of this stream
	case fromTime:
		return max(uint64(s.since(from.time)), s.first())
	}
	return s.first()
}

// Place returns the place of the next entry.
func (r *Reader) Place() uint64 {
	if r.held.Message != nil {
		return r.held.Place
	}
	return r.place
}

// Close ends the reader. It may be called more than once, and from any goroutine.
func (r *Reader) Close() { r.stream.audience.leave(r, ErrClosed) }

// Take waits for an entry and returns those that are there, in order: at most so many messages and, unless the first
// alone has more, bytes of topics, payloads and properties. missed is how many entries before them were dropped or
// cannot be read; if it is not 0, there may be no entries. The batch is appended to room[:0], and the caller may keep the
// messages.
//
// A ctx that has ended still gets what is there. The error is ctx's, ErrTakenOver, ErrDeleted, ErrClosed, or the store's,
// which could not keep a new consumer; then there is no batch.
func (r *Reader) Take(ctx context.Context, messages, bytes int, room []Entry) (batch []Entry, missed uint64, err error) {
	if r.life.Err() != nil {
		return nil, 0, context.Cause(r.life)
	}
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(r.life, cancel)
	defer stop()
	if err = r.await(wait); err == nil {
		batch, missed, err = r.read(wait, messages, bytes, room[:0])
	}
	switch {
	case err == nil:
		return batch, missed, nil
	case r.life.Err() != nil:
		return nil, 0, context.Cause(r.life)
	case errors.Is(err, journal.ErrClosed):
		return nil, 0, ErrClosed
	}
	return nil, 0, err
}

// await returns when a new consumer is safe in the store.
func (r *Reader) await(ctx context.Context) error {
	if r.saved == nil {
		return nil
	}
	var err error
	select {
	case err = <-r.saved:
	default:
		select {
		case err = <-r.saved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if r.saved = nil; err != nil {
		r.stream.audience.leave(r, err)
	}
	return err
}

// mostGaps bounds how many gaps one call of Take passes over.
const mostGaps = 1000

// read waits for the first entry, or that entries are missing, and takes what is there.
func (r *Reader) read(ctx context.Context, messages, bytes int, batch []Entry) (_ []Entry, missed uint64, err error) {
	missed, r.missed = r.missed, 0
	size, gaps := 0, 0
	if e := r.held; e.Message != nil {
		batch, size, r.held = append(batch, e), e.Message.Size(), Entry{}
	}
	for len(batch) < max(messages, 1) && (size < bytes || len(batch) == 0) {
		wait := ctx
		if len(batch) > 0 || missed > 0 {
			wait = ended
		}
		e, lost, err := r.next(wait)
		switch {
		case errors.Is(err, context.Canceled) && wait == ended:
			return batch, missed, nil
		case err != nil && (len(batch) > 0 || missed > 0):
			return batch, missed, nil // the next call finds it again
		case err != nil:
			return nil, 0, err
		case lost > 0 && len(batch) > 0:
			r.missed = lost
			return batch, missed, nil
		case lost > 0:
			if missed, gaps = missed+lost, gaps+1; gaps == mostGaps {
				return nil, missed, nil
			}
			continue
		case len(batch) > 0 && size+e.Message.Size() > bytes:
			r.held = e
			return batch, missed, nil
		}
		batch, size = append(batch, e), size+e.Message.Size()
	}
	return batch, missed, nil
}

// next returns the next entry, or how many entries are missing before it.
func (r *Reader) next(ctx context.Context) (e Entry, lost uint64, err error) {
	s := r.stream
	if aged := s.aged.Load(); r.place < aged {
		lost, r.place, r.journal = aged-r.place, aged, nil
		return Entry{}, lost, nil
	}
	if r.journal == nil {
		r.journal = s.journal.Reader(journal.Place(r.place))
	}
	rec, err := r.journal.Next(ctx)
	var gap *journal.Gap
	switch {
	case errors.As(err, &gap):
		if r.place = uint64(gap.To); !gap.Trimmed {
			s.noteLost(*gap)
		}
		return Entry{}, uint64(gap.To - gap.From), nil
	case err != nil:
		return Entry{}, 0, err
	}
	r.place = uint64(rec.Place) + 1
	if e, err = parseEntry(uint64(rec.Place), r.copy(rec.Data)); err != nil {
		s.noteLost(journal.Gap{From: rec.Place, To: rec.Place + 1})
		return Entry{}, 1, nil
	}
	return e, 0, nil
}

// arenaSize is how much memory a reader allocates for entries at once.
const arenaSize = 16 << 10

// copy returns a copy of p for a message.
func (r *Reader) copy(p []byte) []byte {
	if len(p) > arenaSize/4 {
		return slices.Clone(p)
	}
	if len(p) > cap(r.arena)-len(r.arena) {
		r.arena = make([]byte, 0, arenaSize)
	}
	at := len(r.arena)
	r.arena = append(r.arena, p...)
	return r.arena[at:len(r.arena):len(r.arena)]
}
