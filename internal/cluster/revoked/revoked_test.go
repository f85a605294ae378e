package revoked

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/longline/longline/internal/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeTable is a set in memory.
type fakeTable struct {
	mu      sync.Mutex
	version uint64
	all     map[auth.Bearer]Entry
	err     error
	pages   int
}

func (f *fakeTable) Version(context.Context) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.version, f.err
}

func (f *fakeTable) Page(_ context.Context, from, limit int) (list []Entry, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pages++
	all := slices.SortedFunc(maps.Values(f.all), func(a, b Entry) int { return strings.Compare(member(a.Bearer), member(b.Bearer)) })
	return all[min(from, len(all)):min(from+limit, len(all))], f.err
}

func (f *fakeTable) Set(_ context.Context, b auth.Bearer, until time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version++
	if until.After(time.Now()) {
		f.all[b] = Entry{b, until, false}
	} else if e, there := f.all[b]; there {
		f.all[b] = Entry{b, e.Until, true}
	}
	return f.err
}

func (f *fakeTable) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// refusing is what a node refuses.
type refusing struct {
	mu    sync.Mutex
	all   map[auth.Bearer]time.Time
	calls int
}

func (r *refusing) apply(b auth.Bearer, until time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if r.all[b] = until; !until.After(time.Now()) {
		delete(r.all, b)
	}
	return nil
}

func (r *refusing) until(b auth.Bearer) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[b]
}

func TestNodesFollowTheSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTable{all: make(map[auth.Bearer]Entry)}
		hour := time.Now().Add(time.Hour)
		for i := range pageSize + 1 {
			b := auth.Bearer{Credential: fmt.Sprint("jti-", i)}
			f.all[b] = Entry{b, hour, false}
		}
		start := func() (*List, *refusing) {
			r := &refusing{all: make(map[auth.Bearer]time.Time)}
			l := Start(t.Context(), f, r.apply, slog.New(slog.DiscardHandler))
			t.Cleanup(l.Close)
			return l, r
		}
		a, _ := start()
		_, other := start()
		if other.calls != pageSize+1 {
			t.Fatalf("a node that joins knows %d", other.calls)
		}
		wait := func() {
			time.Sleep(2 * lookEvery)
			synctest.Wait()
		}
		thief := auth.Bearer{Device: "m-1"}
		if err := a.Keep(t.Context(), thief, hour); err != nil {
			t.Fatal(err)
		}
		f.fail(errors.New("away"))
		wait()
		if !other.until(thief).IsZero() || other.calls != pageSize+1 {
			t.Errorf("while Redis is away: %d calls", other.calls)
		}
		f.fail(nil)
		wait()
		if !other.until(thief).Equal(hour) || other.calls != pageSize+2 {
			t.Errorf("a revocation of another node: until %v, after %d calls", other.until(thief), other.calls)
		}
		pages := f.pages
		time.Sleep(time.Minute)
		synctest.Wait()
		if f.pages != pages {
			t.Error("the set is read although it is the same")
		}
		f.mu.Lock()
		delete(f.all, thief) // a failover loses it
		f.version += 7
		f.mu.Unlock()
		wait()
		if e := f.all[thief]; !e.Until.Equal(hour) || other.until(thief).IsZero() {
			t.Errorf("after Redis has lost it: %v", e)
		}
		if err := a.Keep(t.Context(), thief, time.Now()); err != nil {
			t.Fatal(err)
		}
		wait()
		if !other.until(thief).IsZero() || !f.all[thief].Lifted {
			t.Error("what is lifted is still refused")
		}
	})
}
