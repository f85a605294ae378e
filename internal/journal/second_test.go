package journal_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/journal/journaltest"
)

// stall is how long a write to a pair of disks may take.
const stall = 100 * time.Millisecond

// pair are the two disks of a journal. Their steps are counted together.
type pair struct {
	first, second *journaltest.Disk

	mu    sync.Mutex
	steps int
	cut   int                                // the power is cut after this step; 0 means never
	takes func(step, disk int) time.Duration // how long a write or sync takes; nil means no time
	fails func(step, disk int) error
}

func newPair() *pair { return (&pair{first: journaltest.New(), second: journaltest.New()}).watch() }

func (p *pair) watch() *pair {
	for i, d := range []*journaltest.Disk{p.first, p.second} {
		d.Fail(func(journaltest.Step) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.cut > 0 && p.steps >= p.cut {
				return journaltest.ErrPowerCut
			}
			p.steps++
			if p.fails != nil {
				return p.fails(p.steps, i)
			}
			return nil
		}, journaltest.Forgotten)
	}
	return p
}

// set changes how the disks behave.
func (p *pair) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// after returns the disks after a power cut.
func (p *pair) after(choose [2]func(int) int) *pair {
	return &pair{first: p.first.Crash(choose[0]), second: p.second.Crash(choose[1])}
}

func (p *pair) copy() *pair { return &pair{first: p.first.Copy(), second: p.second.Copy()} }

func (p *pair) options() journal.Options {
	o := small(lag{p.first, p, 0})
	o.Second, o.Stall = lag{p.second, p, 1}, stall
	return o
}

// lag is a disk whose writes and syncs take time.
type lag struct {
	journal.FS
	p    *pair
	disk int
}

func (l lag) wait() {
	l.p.mu.Lock()
	var d time.Duration
	if l.p.takes != nil {
		d = l.p.takes(l.p.steps+1, l.disk)
	}
	l.p.mu.Unlock()
	time.Sleep(d)
}

func (l lag) Create(name string) (journal.File, error) {
	f, err := l.FS.Create(name)
	return lagFile{f, l}, err
}

func (l lag) Open(name string) (journal.File, error) {
	f, err := l.FS.Open(name)
	return lagFile{f, l}, err
}

type lagFile struct {
	journal.File
	lag
}

func (f lagFile) WriteAt(b []byte, at int64) (int, error) {
	f.wait()
	return f.File.WriteAt(b, at)
}

func (f lagFile) Sync() error {
	f.wait()
	return f.File.Sync()
}

// shortHistory appends over several segments, with trimming and a clean end.
func (w *world) shortHistory(p *pair) {
	j, rec, err := journal.Open(p.options())
	if err != nil {
		return
	}
	w.check(j, rec, false)
	for i, size := range []int{10, 700, 700, 300, 700, 700, 900, 20} {
		w.append(j, 1+i%2, size/(1+i%2))
		if i == 4 {
			w.trim(j, j.End()-1)
		}
		time.Sleep(stall / 2)
		synctest.Wait()
	}
	j.Close()
}

func all(n int) int   { return min(1, n-1) } // of all names and of a write everything
func none(int) int    { return 0 }
func names(n int) int { return n - 1 }

// reopenPair checks what is left on two disks, and that the journal goes on.
func (w *world) reopenPair(p *pair) {
	w.t.Helper()
	j, rec, err := journal.Open(p.options())
	if err != nil {
		w.t.Fatalf("%s: %v", w.name, err)
	}
	w.check(j, rec, false)
	if !w.append(j, 1, 100) {
		w.t.Fatalf("%s: does not go on: %v", w.name, j.Err())
	}
	w.check(j, journal.Recovery{}, false)
	j.Close()
}

// TestSlowStepAndPowerCut lets every write and sync of a history take too long, a little or for ever, alone or with all that the second disk
// does from there on, and cuts the power at the steps that follow. Whichever of the two writes of a group survives: no safe record is lost.
func TestSlowStepAndPowerCut(t *testing.T) {
	var steps int
	synctest.Test(t, func(t *testing.T) {
		p := newPair()
		newWorld(t).shortHistory(p)
		steps = p.steps
	})
	const little, ever = stall + stall/10, time.Hour
	cases := 0
	for slow := 1; slow <= steps; slow++ {
		for _, takes := range [][2]time.Duration{{little, 0}, {ever, 0}, {little, ever}} {
			for cut := slow; cut <= slow+9; cut++ {
				synctest.Test(t, func(t *testing.T) {
					w, p := newWorld(t), newPair()
					w.name = fmt.Sprintf("step %d takes %v, then the second %v, cut after %d", slow, takes[0], takes[1], cut)
					cases += w.cutPair(p, slow, cut, takes)
				})
			}
		}
	}
	t.Logf("%d steps, %d power cuts", steps, cases)
}

// cutPair runs a history with a slow step, cuts the power, and checks what may be left. It returns how many cases that were.
func (w *world) cutPair(p *pair, slow, cut int, takes [2]time.Duration) int {
	done := false
	p.cut = cut
	p.takes = func(step, disk int) time.Duration {
		switch {
		case step < slow:
			return 0
		case !done:
			done = true
			return takes[0]
		case disk == 1:
			return takes[1]
		}
		return 0
	}
	w.shortHistory(p)
	rnd := rand.New(rand.NewPCG(uint64(slow), uint64(cut)))
	left := [][2]func(int) int{{none, none}, {all, none}, {none, all}, {all, all}, {names, names}, {rnd.IntN, rnd.IntN}, {all, rnd.IntN}}
	for i, choose := range left {
		v := w.clone()
		v.name = fmt.Sprintf("%s, left %d", w.name, i)
		v.reopenPair(p.after(choose))
	}
	return len(left)
}

// TestTwoDisksAtRandom runs for long on two disks that are slow and fail at random, with kills and power cuts.
func TestTwoDisksAtRandom(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 3))
			w, p := newWorld(t), newPair()
			for round := range 8 {
				w.name = fmt.Sprintf("seed %d, round %d", seed, round)
				w.roundOnPair(rnd, p)
				p = p.after([2]func(int) int{rnd.IntN, rnd.IntN}).watch()
			}
			w.reopenPair(p)
		})
	}
}

func (w *world) roundOnPair(rnd *rand.Rand, p *pair) {
	j, rec, err := journal.Open(p.options())
	if err != nil {
		w.t.Fatalf("%s: %v", w.name, err)
	}
	w.check(j, rec, false)
	dice := rand.New(rand.NewPCG(rnd.Uint64(), 2)) // the disks' own
	slow, faulty := rnd.IntN(3), rnd.IntN(3)       // 2 means both
	p.set(func() {
		p.takes = func(_, disk int) time.Duration {
			if (slow == 2 || slow == disk) && dice.IntN(8) == 0 {
				return time.Duration(dice.IntN(400)) * time.Millisecond
			}
			return 0
		}
		p.fails = func(_, disk int) error {
			if (faulty == 2 || faulty == disk) && dice.IntN(25) == 0 {
				return errors.New("input/output error")
			}
			return nil
		}
	})
	for range rnd.IntN(40) {
		switch rnd.IntN(8) {
		case 0:
			w.trim(j, j.First()+journal.Place(rnd.IntN(int(j.End()-j.First())+1)))
		case 1:
			time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
		default:
			w.append(j, 1+rnd.IntN(5), rnd.IntN(180))
		}
	}
	w.check(j, journal.Recovery{}, false)
	if rnd.IntN(2) == 0 {
		p.set(func() { p.cut = p.steps + 1 + rnd.IntN(20) })
		for range 3 {
			w.append(j, 2, rnd.IntN(400))
		}
	}
	j.Close()
}

// TestGoesOnElsewhereAndReturns has the first disk hang: publishers get their answers by the second one, and when the first is well, the
// journal returns to it.
func TestGoesOnElsewhereAndReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair()
		o := p.options()
		var faults []error
		o.OnFault = func(err error) { faults = append(faults, err) }
		j := open(t, o)
		appendAll(t, j, "a")
		synctest.Wait()
		p.set(func() {
			p.takes = func(_, disk int) time.Duration {
				if disk == 0 {
					return 10 * time.Second
				}
				return 0
			}
		})
		begun := time.Now()
		appendAll(t, j, "b")
		if took := time.Since(begun); took != stall {
			t.Errorf("the answer took %v", took)
		}
		if s := j.Stats(); s.Stalls != 1 || !s.Aside || len(faults) != 1 {
			t.Errorf("stats %+v, faults %v", s, faults)
		}
		begun = time.Now()
		for n := range 20 { // several segments
			appendAll(t, j, fmt.Sprint(n, string(make([]byte, 600))))
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("20 more took %v", took)
		}
		p.set(func() { p.takes = nil })
		time.Sleep(time.Minute)
		appendAll(t, j, "c")
		if s := j.Stats(); s.Aside || s.Stalls != 1 {
			t.Errorf("not back: %+v", s)
		}
		if found, gaps := read(t, j, 1); len(found) != 23 || gaps != nil {
			t.Errorf("%d records, gaps %v", len(found), gaps)
		}
		j.Close()
		j = open(t, p.options())
		if found, gaps := read(t, j, 1); len(found) != 23 || gaps != nil {
			t.Errorf("after a restart: %d records, gaps %v", len(found), gaps)
		}
		j.Close()
	})
}

// TestBothDisksHang: publishers wait, as for one slow disk, and are answered when either disk has the group.
func TestBothDisksHang(t *testing.T) {
	for first := range 2 {
		synctest.Test(t, func(t *testing.T) {
			p := newPair()
			j := open(t, p.options())
			appendAll(t, j, "a")
			synctest.Wait()
			times := [2]time.Duration{time.Hour, time.Hour}
			times[first] = time.Second
			p.set(func() { p.takes = func(_, disk int) time.Duration { return times[disk] } })
			var told atomic.Int32
			add(t, j, []byte("b"), func(err error) {
				if told.Add(1); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(3 * time.Second)
			if n := told.Load(); n != 1 {
				t.Errorf("disk %d is well: told %d times", first, n)
			}
			p.set(func() { p.takes = nil })
			appendAll(t, j, "c")
			time.Sleep(3 * time.Hour)
			if n := told.Load(); n != 1 {
				t.Errorf("told %d times", n)
			}
			j.Close()
			j = open(t, p.copy().options())
			if found, gaps := read(t, j, 1); len(found) != 3 || found[2] != "b" || found[3] != "c" || gaps != nil {
				t.Errorf("found %v, gaps %v", found, gaps)
			}
			j.Close()
		})
	}
}

// TestFirstDiskFullOrBroken: the journal goes on in the second directory also when the first one fails.
func TestFirstDiskFullOrBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair()
		j := open(t, p.options())
		appendAll(t, j, "a")
		synctest.Wait()
		p.set(func() {
			p.fails = func(_, disk int) error {
				if disk == 0 {
					return errors.New("input/output error")
				}
				return nil
			}
		})
		for n := range 20 {
			appendAll(t, j, fmt.Sprint(n, string(make([]byte, 600))))
		}
		if err := j.Err(); err != nil || j.Stats().Failures != 0 {
			t.Errorf("%v, %+v", err, j.Stats())
		}
		p.set(func() { p.fails = nil })
		time.Sleep(time.Minute)
		appendAll(t, j, "b")
		if j.Stats().Aside {
			t.Error("the journal does not return")
		}
		j.Trim(j.End())
		time.Sleep(time.Minute)
		if a, b := len(p.first.Sizes()), len(p.second.Sizes()); a > 4 || b > 4 {
			t.Errorf("%d and %d files are left", a, b)
		}
		j.Close()
	})
}

// TestSecondLeaves has a journal give up its second directory: what is there is read, nothing is written there, and when it is trimmed the
// directory is empty.
func TestSecondLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair()
		j := open(t, p.options())
		appendAll(t, j, "a")
		synctest.Wait()
		p.set(func() { p.takes = func(_, disk int) time.Duration { return time.Hour * time.Duration(1-disk) } })
		for n := range 10 {
			appendAll(t, j, fmt.Sprint(n, string(make([]byte, 600))))
		}
		p.set(func() { p.takes = nil })
		j.Close()
		o := p.options()
		o.SecondLeaves = true
		j = open(t, o)
		synctest.Wait()
		appendAll(t, j, "b")
		if found, gaps := read(t, j, 1); len(found) != 12 || gaps != nil || j.Stats().Aside {
			t.Errorf("%d records, gaps %v, %+v", len(found), gaps, j.Stats())
		}
		j.Trim(j.End())
		time.Sleep(time.Second)
		if left := p.second.Sizes(); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
		j.Close()
	})
}
