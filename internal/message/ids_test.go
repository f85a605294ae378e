package message

import (
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// life returns the IDs of one life of a node whose clock shows begin at its start.
func life(t *testing.T, node uint16, begin time.Time) (ids *IDs, sleep func(time.Duration)) {
	t.Helper()
	c, now := NewClock(node), begin
	c.now = func() time.Time { return now }
	ids = new(IDs)
	if err := ids.Start(c, nil); err != nil {
		t.Fatal(err)
	}
	return ids, func(d time.Duration) { now = now.Add(d) }
}

var today = time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)

// spans returns the IDs that a node assigns at 50,000/s in so many seconds, as sorted ranges. It takes one second's
// IDs at a time: the IDs of a range are consecutive.
func spans(t *testing.T, ids *IDs, sleep func(time.Duration), seconds int) (all []Range) {
	t.Helper()
	const rate = 50_000
	for range seconds {
		for left := uint64(rate); left > 0; {
			first := settled(t, ids)
			r := ids.current.Load()
			n := min(left, r.end-first)
			r.taken.Add(n - 1)
			if len(all) > 0 && first < all[len(all)-1].End {
				t.Fatalf("ID %d after %d", first, all[len(all)-1].End-1)
			}
			all = append(all, Range{first, first + n})
			left -= n
		}
		sleep(time.Second)
	}
	return all
}

// settled returns the next ID, once the next range is reserved if it is time for it.
func settled(t *testing.T, ids *IDs) uint64 {
	t.Helper()
	id := ids.Next()
	if id == 0 {
		t.Fatal("there are no IDs")
	}
	for reserving := true; reserving; runtime.Gosched() {
		ids.mu.Lock()
		reserving = ids.reserving
		ids.mu.Unlock()
	}
	if r := ids.current.Load(); id >= r.half && ids.next == nil {
		ids.reserve(ids.ranges)
	}
	return id
}

// disjoint fails if two of the nodes or lives have assigned the same ID.
func disjoint(t *testing.T, lives ...[]Range) {
	t.Helper()
	all := slices.Concat(lives...)
	slices.SortFunc(all, func(a, b Range) int { return int(int64(a.First) - int64(b.First)) })
	for i := 1; i < len(all); i++ {
		if all[i].First < all[i-1].End {
			t.Fatalf("%v and %v overlap", all[i-1], all[i])
		}
	}
	if most := all[len(all)-1].End; most > 1<<53 {
		t.Errorf("ID %d is above 2^53", most-1)
	}
}

// Measured before nodes had numbers: two nodes assigned the same IDs after 819 s.
func TestTwoNodesGiveNoCommonID(t *testing.T) {
	a, sleepA := life(t, 1, today)
	b, sleepB := life(t, 2, today.Add(10*time.Second))
	disjoint(t, spans(t, a, sleepA, 900), spans(t, b, sleepB, 900))
}

func TestTwoLivesGiveNoCommonID(t *testing.T) {
	first, sleep := life(t, 1, today)
	given := spans(t, first, sleep, 900)
	second, sleep := life(t, 1, today.Add(901*time.Second))
	disjoint(t, given, spans(t, second, sleep, 900))
	quick, sleep := life(t, 1, today)
	again, sleepAgain := life(t, 1, today.Add(2*time.Second)) // within the same range
	disjoint(t, spans(t, quick, sleep, 2), spans(t, again, sleepAgain, 2))
}

func TestClockSetBackWhileTheNodeLives(t *testing.T) {
	ids, sleep := life(t, 1, today)
	given := spans(t, ids, sleep, 1500)
	sleep(-time.Hour)
	disjoint(t, given, spans(t, ids, sleep, 3000))
}

func TestIDsOfManyGoroutines(t *testing.T) {
	ids := new(IDs)
	if err := ids.Start(&short{}, nil); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	given := make([][]uint64, 4)
	for i := range given {
		wg.Go(func() {
			for len(given[i]) < 1000 {
				if id := ids.Next(); id != 0 {
					given[i] = append(given[i], id)
				}
			}
		})
	}
	wg.Wait()
	for _, list := range given {
		if !slices.IsSorted(list) {
			t.Error("the IDs are not ascending")
		}
	}
	all := slices.Concat(given...)
	slices.Sort(all)
	if n := len(slices.Compact(slices.Clone(all))); n != len(all) {
		t.Errorf("%d IDs were given twice", len(all)-n)
	}
}

// short returns ranges of a few IDs, or an error. One goroutine uses it.
type short struct {
	next uint64
	err  error
}

func (s *short) Reserve() (Range, error) {
	s.next += 100_000
	return Range{s.next, s.next + 1000}, s.err
}

var errDisk = errors.New("no space left")

// A node that cannot reserve assigns no ID, rather than one that another may assign; it continues when it can reserve.
func TestNoIDsWhenNoneCanBeReserved(t *testing.T) {
	failures := make(chan error)
	source := new(short)
	ids := new(IDs)
	if err := ids.Start(source, func(err error) { failures <- err }); err != nil {
		t.Fatal(err)
	}
	source.err = errDisk
	ask := func(n int) (last uint64) {
		for range n {
			last = ids.Next()
		}
		return last
	}
	last := ask(1000 + 501) // two ranges were reserved, and half of the second asks for a third
	if err := <-failures; !errors.Is(err, errDisk) {
		t.Errorf("told of %v", err)
	}
	if got := ask(499); got != last+499 {
		t.Errorf("ID %d before the range's end, want %d", got, last+499)
	}
	ids.mu.Lock()
	ids.retry = time.Now().Add(time.Hour)
	ids.mu.Unlock()
	if got := ids.Next(); got != 0 {
		t.Errorf("ID %d of no range", got)
	}
	ids.mu.Lock()
	source.err, ids.retry = nil, time.Time{}
	ids.mu.Unlock()
	deadline := time.Now().Add(10 * time.Second)
	for ids.Next() == 0 {
		if time.Now().After(deadline) {
			t.Fatal("no IDs although a range can be reserved")
		}
	}
}

func TestLaneEnds(t *testing.T) {
	r, _, err := Lane(MaxNode).At(1<<laneBits - 1)
	if err != nil || r.End != 1<<53 {
		t.Errorf("the last range is %v, %v", r, err)
	}
	if _, _, err := Lane(1).At(1 << laneBits); err == nil {
		t.Error("a position beyond the lane has IDs")
	}
}
