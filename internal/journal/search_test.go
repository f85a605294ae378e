package journal_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/journal/journaltest"
)

// numbered has records that are their places, of various lengths in groups of various sizes, over several segments.
func numbered(t *testing.T, d *journaltest.Disk) *journal.Journal {
	t.Helper()
	j := open(t, journal.Options{FS: d, SegmentSize: 512 << 10, Pending: 64 << 10})
	rng := rand.New(rand.NewPCG(1, 2))
	for place := 1; place < 2000; {
		safe := make(chan error, 1)
		for range 1 + rng.IntN(1+rng.IntN(60)) {
			if _, err := j.Append(fmt.Appendf(nil, "%0*d", 4+rng.IntN(1000), place), nil); err != nil {
				t.Fatal(err)
			}
			place++
		}
		if err := j.Commit(func(err error) { safe <- err }); err != nil {
			t.Fatal(err)
		}
		if err := <-safe; err != nil {
			t.Fatal(err)
		}
	}
	if n := j.Stats().Segments; n < 3 {
		t.Fatalf("%d segments", n)
	}
	return j
}

// TestReaderBeginsAnywhere has a reader begin at every place, and search for each.
func TestReaderBeginsAnywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := journaltest.New()
		j := numbered(t, d)
		defer j.Close()
		for place := journal.Place(1); place < j.End(); place++ {
			rec, err := j.Reader(place).Next(ended)
			if n, _ := strconv.Atoi(string(rec.Data)); err != nil || rec.Place != place || n != int(place) {
				t.Fatalf("at %d: %d, %d, %v", place, rec.Place, n, err)
			}
			if place%50 != 0 {
				continue
			}
			found := j.Search(func(record []byte) bool {
				n, _ := strconv.Atoi(string(record))
				return n >= int(place)
			})
			if found != place {
				t.Fatalf("searched %d, found %d", place, found)
			}
		}
		if found := j.Search(func([]byte) bool { return false }); found != j.End() {
			t.Errorf("found %d for what is not there", found)
		}
	})
}

// TestReaderBeginsBesideSpoiltSectors checks that a seek over sectors that are spoilt finds what a reader from the beginning finds.
func TestReaderBeginsBesideSpoiltSectors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := journaltest.New()
		j := numbered(t, d)
		defer j.Close()
		synctest.Wait() // until the next segment is prepared
		rng := rand.New(rand.NewPCG(3, 4))
		for name, size := range d.Sizes() {
			for range 20 {
				d.Spoil(name, 512+rng.IntN(size-1024), 1+rng.IntN(3000), byte(rng.IntN(256)))
			}
		}
		whole, gaps := read(t, j, 1)
		if len(gaps) < 20 {
			t.Fatalf("%d gaps", len(gaps))
		}
		for place := journal.Place(1); place < j.End(); place++ {
			rec, err := j.Reader(place).Next(ended)
			text, ok := whole[place]
			if ok != (err == nil) || ok && string(rec.Data) != text {
				t.Fatalf("at %d: %.10q %v, from the beginning: %.10q %v", place, rec.Data, err, text, ok)
			}
		}
	})
}

func TestLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := numbered(t, journaltest.New())
		defer j.Close()
		last, r := int64(1<<62), j.Reader(0)
		for place := journal.Place(1); place < j.End(); place++ {
			rec, err := r.Next(ended)
			if err != nil {
				t.Fatal(err)
			}
			left := r.Left()
			if least := last - int64(len(rec.Data)); left >= last || left < least-64<<10-2048 && place > 1 {
				t.Fatalf("%d bytes are left behind %d, %d before it, which has %d", left, place, last, len(rec.Data))
			}
			if place%100 == 0 { // the same from any beginning
				other := j.Reader(place)
				if _, err := other.Next(ended); err != nil || other.Left() != left {
					t.Fatalf("%d bytes are left behind %d, or %d, %v", left, place, other.Left(), err)
				}
			}
			last = left
		}
		if last > 512 {
			t.Errorf("%d bytes are left at the end", last)
		}
	})
}

// TestReclaim fills a journal to its bound: it goes on as long as the oldest segments may be trimmed.
func TestReclaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := small(journaltest.New())
		o.MaxBytes = 4 * o.SegmentSize
		var upTo atomic.Uint64
		upTo.Store(30)
		o.Reclaim = func() journal.Place { return journal.Place(upTo.Load()) }
		j := open(t, o)
		defer j.Close()
		var err error
		for err == nil && j.End() < 1000 {
			told := make(chan error, 1)
			if _, err = j.Append(make([]byte, 300), func(err error) { told <- err }); err == nil {
				err = <-told
			}
			synctest.Wait()
			if s := j.Stats(); s.Size > o.MaxBytes || s.Faults > 0 {
				t.Fatalf("%+v", s)
			}
		}
		first := j.First()
		if err == nil || first > 30 || first < 30-4096/512 || j.End() < first+15 {
			t.Fatalf("%v, has %d to %d", err, first, j.End())
		}
		upTo.Store(1 << 60)
		if j.Trim(first) || !j.Trim(first+10) { // the first has no effect
			t.Errorf("has %d to %d", j.First(), j.End())
		}
		synctest.Wait()
		for range 100 {
			appendAll(t, j, "goes on")
			synctest.Wait()
		}
		if found, gaps := read(t, j, j.First()); len(gaps) != 0 || len(found) < 15 {
			t.Errorf("has %d, gaps %v", len(found), gaps)
		}
	})
}
