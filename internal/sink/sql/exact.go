package sql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/longline/longline/internal/sink/pump"
)

// exact is a sink that keeps its place in the table longline_places, in the transaction that writes the records. A transaction moves the place
// only from where the sink knows it to be: otherwise one of an earlier process, which the server has still made, could be made twice.
type exact struct {
	*target
	key placeKey // static after construction

	mu sync.Mutex
	// Guarded by mu.
	at    uint64 // the place that the server has, as far as is known
	known bool   // it has one
}

// placeKey is what a row of longline_places has a place of.
type placeKey struct {
	node         int
	stream, sink string
}

// move is a change of a place.
type move struct {
	placeKey
	from  uint64
	known bool // there is a row with from
	to    uint64
}

// The statements about places. $1 to $5 are the new place, node, stream, sink, and the place that it was.
const (
	placesTable = "longline_places"

	postgresPlaces = "create table if not exists " + placesTable + " (node integer not null, stream text not null, sink text not null, " +
		"place bigint not null, primary key (node, stream, sink))"
	mySQLPlaces = "create table if not exists " + placesTable + " (`node` int not null, " +
		"`stream` varchar(64) character set ascii collate ascii_bin not null, `sink` varchar(64) character set ascii collate ascii_bin not null, " +
		"`place` bigint not null, primary key (`node`, `stream`, `sink`))" + mySQLTable
)

// errMoved is that of a move whose place was not where it should have been. It means later.
var errMoved = errors.New("the place has been moved by another process or connection")

// moveError is an error about the row of a place, and not about a message.
type moveError struct{ error }

func (e moveError) Unwrap() error { return e.error }

// Place implements pump.Transactional.
func (e *exact) Place(ctx context.Context) (place uint64, known bool, err error) {
	err = e.use(ctx, func(ctx context.Context, s session) (err error) {
		place, known, err = s.place(ctx, e.key)
		if e.target.kind(err) != noTable {
			return err
		}
		create := postgresPlaces
		if e.lang == mySQL {
			create = mySQLPlaces
		}
		if err := s.exec(ctx, create); err != nil {
			return fmt.Errorf("%s: %w", placesTable, err)
		}
		place, known, err = s.place(ctx, e.key)
		return err
	})
	if err == nil {
		e.mu.Lock()
		e.at, e.known = place, known
		e.mu.Unlock()
	}
	return place, known, err
}

// SendUpTo implements pump.Transactional.
func (e *exact) SendUpTo(ctx context.Context, records []*pump.Record, place uint64) error {
	e.mu.Lock()
	m := &move{placeKey: e.key, from: e.at, known: e.known, to: place}
	e.mu.Unlock()
	first := 0
	for first < len(records) && records[first].Place < m.from {
		first++ // the server has it, by a transaction of another process
	}
	records = records[first:]
	if i := slices.IndexFunc(records, e.behindRefused); i >= 0 { // those before it were tried
		if at, err := e.findRefused(ctx, records[i:]); err != nil {
			return refusedAt(first+i+at, err)
		}
	}
	err := e.try(ctx, records, how{move: m, anew: true})
	if pump.IsRefused(err) {
		err = e.try(ctx, records, how{move: m}) // some may be there already, from a time when the sink was not transactional
	}
	if pump.IsRefused(err) {
		at, found := e.findRefused(ctx, records)
		if found == nil {
			return fmt.Errorf("the server has refused messages, and does not any more: %v", err) //nolint:errorlint // it means later
		}
		return refusedAt(first+at, found)
	}
	if err == nil {
		e.mu.Lock()
		e.at, e.known = place, true
		e.mu.Unlock()
	}
	return err
}

// refusedAt is pump.RefusedAt, for errors of all kinds.
func refusedAt(i int, err error) error {
	if pump.IsRefused(err) {
		return pump.RefusedAt(i, err)
	}
	return err
}

// findRefused returns which of the records is the first that the server refuses, and why; no error if it refuses none. It tries the first 1, 2, 4 of them
// and so on, then halves, in transactions that are undone. Another error is none about a record.
func (e *exact) findRefused(ctx context.Context, records []*pump.Record) (at int, err error) {
	good, bad := 0, len(records)+1 // records[:good] are not refused, records[:bad] are, or are too many
	for step := 1; bad-good > 1; step *= 2 {
		middle := min(good+step, len(records))
		if err != nil {
			middle = good + (bad-good)/2
		}
		switch tried := e.try(ctx, records[:middle], how{undo: true}); {
		case tried == nil:
			good = middle
		case pump.IsRefused(tried):
			bad, err = middle, tried
		default:
			return 0, tried
		}
	}
	if err != nil {
		e.noteRefused(records, bad-1)
	}
	return bad - 1, err
}
