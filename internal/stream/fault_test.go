package stream

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/journal/journaltest"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
)

// TestDiskFails checks that a stream refuses what it cannot make safe, says so, and goes on when the disk is well.
func TestDiskFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.publish(1, 5)
		w.open("c", First)
		var fails atomic.Bool
		fails.Store(true)
		w.disk.Fail(func(s journaltest.Step) error {
			if fails.Load() {
				return errors.New("I/O error on /some/path")
			}
			return nil
		}, journaltest.Forgotten)
		if err := w.one(6, message.AtMostOnce); err != nil { // taken, and then lost
			t.Error(err)
		}
		synctest.Wait()
		for n := range 3 {
			err := w.one(6, message.AtLeastOnce)
			if !errors.Is(err, router.ErrStore) || strings.Contains(err.Error(), "/some/path") {
				t.Errorf("%d: %v", n, err)
			}
		}
		if err := w.one(6, message.AtMostOnce); err != nil {
			t.Error(err)
		}
		if n := w.router.Drops[router.StreamFailing].Load(); n != 5 || w.s.Stats().Failing != 5 || !w.s.Stats().Failed {
			t.Errorf("%d drops, %+v", n, w.s.Stats())
		}
		if err := w.set.Err(); err == nil || !strings.Contains(err.Error(), "stream s: ") {
			t.Errorf("%v", err)
		}
		if got, missed := w.rest(w.open("", First)); !slices.Equal(got, upTo(1, 6)) || missed != 0 {
			t.Errorf("meanwhile: %v, missed %d", got, missed)
		}
		fails.Store(false)
		time.Sleep(10 * time.Second)
		if err := w.set.Err(); err != nil {
			t.Error(err)
		}
		w.publish(7, 3)
		got, missed := w.rest(w.open("c", Latest))
		got = slices.DeleteFunc(got, func(n int) bool { return n == 6 }) // what was refused may be there
		if !slices.Equal(got, []int{1, 2, 3, 4, 5, 7, 8, 9}) || missed != 0 {
			t.Errorf("%v, missed %d", got, missed)
		}
	})
}

// TestSpoiltEntries flips bits of entries: readers are told how many they missed, and the loss is counted once.
func TestSpoiltEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.open("c", First)
		w.publish(1, 100)
		synctest.Wait()
		for name, size := range w.disk.Sizes() {
			for at := 3 * 512; at < size; at += 5 * 512 {
				w.disk.Flip(name, at+200, 3)
			}
		}
		var read []int
		for range 2 {
			got, missed := w.rest(w.open("", First))
			if missed < 10 || len(got)+int(missed) != 100 || read != nil && !slices.Equal(got, read) {
				t.Fatalf("%v, missed %d", got, missed)
			}
			read = got
			if n := w.s.Stats().Lost; n != missed {
				t.Errorf("lost %d, the reader missed %d", n, missed)
			}
		}
		for _, x := range []struct{ place, missed int }{{1, 0}, {51, 50 - len(upToIn(read, 51))}, {101, 100 - len(read)}} {
			w.acknowledge("c", uint64(x.place))
			if c := w.s.Info().Consumers[0]; c.Missed != uint64(x.missed) {
				t.Errorf("at %d: %+v, want %d missed", x.place, c, x.missed)
			}
		}
	})
}

// upToIn returns the numbers below n.
func upToIn(numbers []int, n int) []int {
	return slices.DeleteFunc(slices.Clone(numbers), func(x int) bool { return x >= n })
}

// TestUnreadableEntry checks that a record that is no entry is missed, and nothing more.
func TestUnreadableEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.publish(1, 1)
		if _, err := w.s.journal.Append([]byte{99, 1, 2}, nil); err != nil {
			t.Fatal(err)
		}
		w.publish(2, 1)
		r := w.open("", First)
		if batch, missed, err := r.Take(t.Context(), 9, 1<<20, nil); err != nil || len(batch) != 1 || missed != 0 {
			t.Errorf("%v, %d, %v", batch, missed, err)
		}
		if got, missed := w.rest(r); !slices.Equal(got, []int{2}) || missed != 1 || w.s.Stats().Lost != 1 {
			t.Errorf("%v, missed %d", got, missed)
		}
	})
}

// TestFilesOlderThanStore restores a stream without its files: its consumers begin where it does.
func TestFilesOlderThanStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.open("c", First)
		w.publish(1, 50)
		w.acknowledge("c", 51)
		w.disk = journaltest.New()
		w.restart()
		w.publish(51, 2)
		if got, missed := w.rest(w.open("c", First)); !slices.Equal(got, []int{51, 52}) || missed != 0 {
			t.Errorf("%v, missed %d", got, missed)
		}
	})
}

// TestClockSetBack checks that times do not descend, over a restart too.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.publish(1, 1)
		future := time.Now().Add(time.Hour)
		for range 2 {
			w.s.mu.Lock()
			w.s.last = max(w.s.last, future.UnixMilli())
			w.s.mu.Unlock()
			w.publish(2, 1)
			w.restart()
		}
		w.publish(3, 1)
		batch, _, err := w.open("", First).Take(t.Context(), 9, 1<<20, nil)
		if err != nil || len(batch) != 4 || !batch[3].Time.Equal(batch[1].Time) || !batch[0].Time.Before(batch[1].Time) {
			t.Errorf("%v, %v", batch, err)
		}
	})
}

func TestRanges(t *testing.T) {
	var r ranges
	for _, x := range []struct{ from, to, fresh int }{
		{10, 20, 10}, {10, 20, 0}, {30, 40, 10}, {15, 35, 10}, {40, 41, 1}, {1, 5, 4}, {5, 10, 5}, {50, 60, 10}, {0, 100, 50},
	} {
		if n := r.add(journal.Gap{From: journal.Place(x.from), To: journal.Place(x.to)}); n != uint64(x.fresh) {
			t.Errorf("%d-%d: %d are new, not %d: %v", x.from, x.to, n, x.fresh, r)
		}
	}
	if len(r) != 1 || r.within(90, 200) != 10 {
		t.Errorf("%v", r)
	}
	if r.forget(99); len(r) != 1 {
		t.Errorf("%v", r)
	}
	if r.forget(100); len(r) != 0 {
		t.Errorf("%v", r)
	}
	for i := range 3 * mostRanges {
		r.add(journal.Gap{From: journal.Place(3 * i), To: journal.Place(3*i + 1)})
	}
	if len(r) != mostRanges {
		t.Errorf("%d ranges", len(r))
	}
}

// TestAcknowledgeWhileStoreFails checks that places are not handed to a store that fails: it would have to keep each in memory.
func TestAcknowledgeWhileStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.publish(1, 5)
		w.open("c", First)
		synctest.Wait()
		puts := w.values.puts
		w.values.fails = errors.New("disk")
		for place := range uint64(4) {
			w.s.Acknowledge("c", place+1, func(err error) {
				if !errors.Is(err, w.values.fails) {
					t.Errorf("place %d: %v", place+1, err)
				}
			})
		}
		if w.values.puts != puts || w.s.Info().Consumers[0].Place != 1 {
			t.Errorf("%d values, %+v", w.values.puts-puts, w.s.Info().Consumers)
		}
		w.values.fails = fmt.Errorf("%w: disk", store.ErrNoRoom)
		w.acknowledge("c", 4) // this may make room
	})
}
