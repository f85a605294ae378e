package sql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/pump"
)

// target is the sink.
type target struct {
	// Static after construction.
	lang      language
	kind      func(error) kind // of an error of the server
	pool      pool
	timeout   time.Duration
	maxTables int
	values    []route.Template // the parameters of a row; nil for those of the default columns
	layout    *layout          // nil with a statement of the user's
	fixed     *table           // the only table, or nil

	mu sync.Mutex
	// Guarded by mu.
	tables map[string]*table   // those that messages have named
	behind map[uint64]struct{} // places of records behind refused ones
}

// open makes a target.
func open(lang language, c *Config, o pump.Options) (pump.Target, error) {
	t := &target{lang: lang, timeout: c.Timeout, maxTables: c.MaxTables, tables: make(map[string]*table), behind: make(map[uint64]struct{})}
	if c.Insert != "" {
		s, values, err := parseInsert(lang, c.Insert)
		if err != nil {
			return nil, fmt.Errorf("insert: %w", err)
		}
		t.values, t.fixed = values, &table{insert: s}
	} else {
		l, err := newLayout(lang, c)
		if err != nil {
			return nil, err
		}
		t.layout, t.values = l, l.values
		if l.literal() {
			name, err := l.name(nil)
			if err != nil {
				return nil, fmt.Errorf("table: %w", err)
			}
			t.fixed = l.make(name)
		}
	}
	var err error
	if lang == postgres {
		t.kind = postgresKind
		t.pool.dial, err = dialPostgres(c, o)
	} else {
		t.kind = mySQLKind
		t.pool.dial, err = dialMySQL(c, o)
	}
	if err != nil {
		return nil, err
	}
	if c.Transactional {
		return &exact{target: t, key: placeKey{int(o.Node), o.Stream, o.Name}}, nil
	}
	return t, nil
}

// Prepare implements pump.Target.
func (t *target) Prepare(v *route.View, r *pump.Record) error {
	if t.fixed != nil {
		r.To = t.fixed.name
	} else {
		name, err := t.layout.name(v)
		if err != nil {
			return err
		}
		if _, err := t.table(name); err != nil {
			return err
		}
		r.To = name
	}
	if t.values == nil {
		return defaultValues(v, r)
	}
	r.Values = make([]any, len(t.values))
	for i := range t.values {
		x, err := t.values[i].Value(v)
		if err == nil {
			x, err = parameterOf(t.lang, x)
		}
		if err != nil {
			return err
		}
		r.Values[i] = x
	}
	return nil
}

// defaultValues sets the values of the default columns.
func defaultValues(v *route.View, r *pump.Record) error {
	payload, contentType, err := v.Encoded()
	if err != nil {
		return err
	}
	if payload == nil {
		payload = []byte{} // nil would be NULL
	}
	m := v.Message()
	r.Values = []any{int64(v.Node), v.Stream, int64(v.Place), v.Time, m.Source, m.Topic, contentType, payload} //nolint:gosec // places are below 2^63
	return nil
}

// table returns the table that messages have named. There are at most maxTables.
func (t *target) table(name string) (*table, error) {
	if t.fixed != nil {
		return t.fixed, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	to, known := t.tables[name]
	if !known {
		if len(t.tables) >= t.maxTables {
			return nil, fmt.Errorf("table %s: messages have named %d tables already, which is max_tables", name, t.maxTables)
		}
		to = t.layout.make(name)
		t.tables[name] = to
	}
	return to, nil
}

// forget forgets a table that messages have named and that does not exist: otherwise a device could name so many that there is no room for others.
func (t *target) forget(missing *table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if missing.create == "" && t.tables[missing.name] == missing {
		delete(t.tables, missing.name)
	}
}

// Send implements pump.Target. If the server refuses the records together, they are sent in halves, until it is known which of them it refuses. Behind a
// refused record it begins with one, and then twice as many each time: of a device that sends nothing but what is refused, each message is tried once.
func (t *target) Send(ctx context.Context, records []*pump.Record) (done int, err error) {
	size := len(records)
	if len(records) > 0 && t.behindRefused(records[0]) {
		size = 1
	}
	bad := 0 // one of records[done:bad] is refused, as far as is known; 0 if none
	for done < len(records) {
		to := min(len(records), done+size)
		if bad > 0 {
			to = done + max(1, (bad-done)/2)
		}
		switch err := t.try(ctx, records[done:to], how{}); {
		case err == nil:
			if done = to; done >= bad {
				bad = 0
			}
			size = min(2*size, len(records))
		case !pump.IsRefused(err):
			return done, err
		case to-done == 1:
			t.noteRefused(records, done)
			return done, err
		default:
			bad = to
		}
	}
	return done, nil
}

// behindRefused reports whether a record is the next one behind one that was refused.
func (t *target) behindRefused(r *pump.Record) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, is := t.behind[r.Place]
	delete(t.behind, r.Place)
	return is
}

// mostBehind bounds target.behind. There is one for each lane; some may never come again.
const mostBehind = 1024

// noteRefused notes that records[i] was refused.
func (t *target) noteRefused(records []*pump.Record, i int) {
	if i+1 == len(records) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.behind) >= mostBehind {
		clear(t.behind)
	}
	t.behind[records[i+1].Place] = struct{}{}
}

// try writes records in one transaction.
func (t *target) try(ctx context.Context, records []*pump.Record, h how) error {
	work, err := t.work(records, h.anew)
	if err != nil {
		return err
	}
	return t.use(ctx, func(ctx context.Context, s session) error {
		for _, b := range work {
			if err := t.createTable(ctx, s, b.table); err != nil {
				return err
			}
		}
		err := s.write(ctx, work, h)
		if t.kind(err) == noTable {
			for _, b := range work {
				b.table.exists.Store(false)
			}
			if len(work) == 1 {
				t.forget(work[0].table)
			}
		}
		return err
	})
}

// use calls f with a connection, for the timeout, and says of which kind an error is.
func (t *target) use(ctx context.Context, f func(context.Context, session) error) error {
	limited, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	s, err := t.pool.take(limited)
	connected := err == nil
	if connected {
		err = f(limited, s)
	}
	k := t.kind(err)
	switch {
	case !connected:
	case err == nil, k == refused, k == again:
		t.pool.give(s)
	default:
		s.close(false)
	}
	if k == later {
		t.pool.drop()
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(limited.Err(), context.DeadlineExceeded) && ctx.Err() == nil && k == later:
		return fmt.Errorf("no answer from the server in %v: %w", t.timeout, shorten(err))
	case k == refused:
		return pump.Refused(shorten(err))
	case k == noTable && t.layout != nil && t.layout.create != "":
		return shorten(err) // later: it is created then
	case k == misconfigured || k == noTable:
		if connected && t.fixed == nil { // messages name the table
			return pump.Refused(shorten(err))
		}
		return pump.Misconfigured(shorten(err))
	}
	return shorten(err)
}

// longestError bounds the text of an error, which may have a value of the message in it.
const longestError = 500

// shorten returns err with a text of bounded length, in valid UTF-8.
func shorten(err error) error {
	if text := err.Error(); len(text) > longestError {
		return errors.New(strings.ToValidUTF8(text[:longestError], "") + "...")
	}
	return err
}

// createTable creates a table unless it was created before.
func (t *target) createTable(ctx context.Context, s session, to *table) error {
	if to.create == "" || to.exists.Load() {
		return nil
	}
	switch err := s.exec(ctx, to.create); t.kind(err) {
	case none, refused, misconfigured:
		// Another lane may create it at the same time, and a user who may not create tables may have it. If it is not there, the INSERT says so.
		to.exists.Store(true)
		return nil
	default:
		return err
	}
}

// work returns records as rows of tables, in the order of the records for each table.
func (t *target) work(records []*pump.Record, anew bool) ([]batch, error) {
	var work []batch
	places := make(map[string]int)
	for _, r := range records {
		i, known := places[r.To]
		if !known {
			to, err := t.table(r.To)
			if err != nil {
				return nil, pump.Refused(err)
			}
			i = len(work)
			work = append(work, batch{table: to, rows: make([][]any, 0, len(records)), copied: to.copy != nil && (anew || !to.skips)})
			places[r.To] = i
		}
		work[i].rows = append(work[i].rows, r.Values)
	}
	for i := range work {
		if key := work[i].table.key; len(key) > 0 {
			work[i].rows = lastOfEach(work[i].rows, key)
		}
	}
	return work, nil
}

// lastOfEach returns the last row of each key, in their order. What an upsert sets, the next one of the same key sets again; PostgreSQL refuses both in
// one statement.
func lastOfEach(rows [][]any, key []int) [][]any {
	seen := make(map[string]bool, len(rows))
	last := make([][]any, 0, len(rows))
	var text []byte
	for _, row := range slices.Backward(rows) {
		text = text[:0]
		same := true
		for _, k := range key {
			var ok bool
			text, ok = appendKey(text, row[k])
			same = same && ok
		}
		if same && seen[string(text)] {
			continue
		}
		seen[string(text)] = same
		last = append(last, row)
	}
	slices.Reverse(last)
	return last
}

// Close implements pump.Target.
func (t *target) Close() { t.pool.close() }
