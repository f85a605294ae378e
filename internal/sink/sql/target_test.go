package sql

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/longline/longline/internal/sink/pump"
)

var errBad = errors.New("bad")

// server is a session that refuses what is "bad".
type server struct {
	session
	written []any
	tried   int // rows
}

func (s *server) write(_ context.Context, work []batch, h how) error {
	for _, b := range work {
		s.tried += len(b.rows)
		for _, row := range b.rows {
			if row[0] == "bad" {
				return errBad
			}
		}
		if !h.undo {
			for _, row := range b.rows {
				s.written = append(s.written, row[0])
			}
		}
	}
	return nil
}

func (*server) close(bool) {}

func withServer(t *testing.T) (*target, *server) {
	to, s := openFor(t, postgres, Config{Table: "t", Columns: map[string]string{"a": "{source}"}}), new(server)
	to.pool.dial = func(context.Context) (session, error) { return s, nil }
	to.kind = func(err error) kind {
		switch {
		case err == nil:
			return none
		case errors.Is(err, errBad):
			return refused
		}
		return later
	}
	return to, s
}

// Whichever records are refused, all others are written, once and in order, and few are tried more often than that.
func TestRefusedRecords(t *testing.T) {
	const n = 500
	for name, c := range map[string]struct {
		bad  func(i int) bool
		most int // rows that may be tried
	}{
		"none":         {func(int) bool { return false }, n},
		"one":          {func(i int) bool { return i == 300 }, 5 * n},
		"the last":     {func(i int) bool { return i == n-1 }, 4 * n},
		"all":          {func(int) bool { return true }, 5 * n},
		"every second": {func(i int) bool { return i%2 == 0 }, 6 * n},
		"half of them": {func(i int) bool { return i < n/2 }, 5 * n},
	} {
		for _, exactly := range []bool{false, true} {
			to, s := withServer(t)
			e := &exact{target: to}
			var records []*pump.Record
			var want, refusedOnes []any
			for i := range n {
				value := any(i)
				if c.bad(i) {
					value = "bad"
					refusedOnes = append(refusedOnes, i)
				} else {
					want = append(want, i)
				}
				records = append(records, &pump.Record{Place: uint64(i + 1), To: to.fixed.name, Values: []any{value}})
			}
			var dead []any
			for len(records) > 0 {
				var done int
				var err error
				if exactly {
					if err = e.SendUpTo(t.Context(), records, n+1); err == nil {
						done = len(records)
					}
				} else {
					done, err = to.Send(t.Context(), records)
				}
				records = records[done:]
				if err == nil {
					continue
				}
				if !pump.IsRefused(err) {
					t.Fatal(err)
				}
				at := slices.IndexFunc(records, func(r *pump.Record) bool { return r.Values[0] == "bad" })
				if !exactly && at != 0 {
					t.Fatalf("%s: %d is refused", name, records[0].Place)
				}
				dead = append(dead, int(records[at].Place)-1)
				records = slices.Delete(records, at, at+1)
			}
			if !slices.Equal(s.written, want) || !slices.Equal(dead, refusedOnes) {
				t.Errorf("%s: %d written, want %d; %d refused, want %d", name, len(s.written), len(want), len(dead), len(refusedOnes))
			}
			if most := c.most; s.tried > most && !exactly || s.tried > 4*most {
				t.Errorf("%s, exactly once %v: %d rows were tried", name, exactly, s.tried)
			}
		}
	}
}

// missing is a server that has no table.
type missing struct{ session }

func (missing) write(context.Context, []batch, how) error { return errBad }
func (missing) close(bool)                                {}

// Tables that messages have named and that do not exist take no room from others.
func TestMissingTablesAreForgotten(t *testing.T) {
	to := openFor(t, postgres, Config{Table: "t_{payload.site}", Columns: map[string]string{"a": "{source}"}, MaxTables: 2})
	to.pool.dial = func(context.Context) (session, error) { return missing{}, nil }
	to.kind = func(err error) kind {
		if err == nil {
			return none
		}
		return noTable
	}
	for _, name := range []string{`"t_1"`, `"t_2"`, `"t_3"`} {
		if _, err := to.table(name); err != nil { // as Prepare does
			t.Fatal(err)
		}
		if _, err := to.Send(t.Context(), []*pump.Record{{To: name, Values: []any{"x"}}}); !pump.IsRefused(err) {
			t.Error(err)
		}
	}
}
