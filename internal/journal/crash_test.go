package journal_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/journal/journaltest"
)

// steps returns how many steps a history takes on a disk that works.
func steps(t *testing.T) (n int) {
	synctest.Test(t, func(t *testing.T) {
		d := journaltest.New()
		newWorld(t).history(d)
		n = d.Steps()
	})
	if n < 40 {
		t.Fatalf("a history of %d steps", n)
	}
	return n
}

// cutAfter cuts the power after a step.
func cutAfter(step int) func(journaltest.Step) error {
	return func(s journaltest.Step) error {
		if s.Number > step {
			return journaltest.ErrPowerCut
		}
		return nil
	}
}

// TestPowerCutAtEachStep cuts the power at every step of a history, and checks everything that unfinished
// writes may have left. Then it cuts the power once more, at every step of the recovery.
func TestPowerCutAtEachStep(t *testing.T) {
	cases, again := 0, 0
	for step := range steps(t) {
		synctest.Test(t, func(t *testing.T) {
			w, d := newWorld(t), journaltest.New()
			d.Fail(cutAfter(step), journaltest.Forgotten)
			w.history(d)
			for c := new(choices); ; {
				after := d.Crash(c.choose)
				v := w.clone()
				v.name = fmt.Sprintf("step %d, choices %v", step, c.made)
				v.reopen(after.Copy())
				if cases++; cases%3 == 0 {
					again += w.cutAgain(v.name, after)
				}
				if !c.next() {
					break
				}
			}
		})
	}
	t.Logf("%d power cuts, %d more while it recovered", cases, again)
}

// cutAgain cuts the power at each step of a recovery and the first record behind it, and returns how often.
func (w *world) cutAgain(name string, d *journaltest.Disk) (cuts int) {
	for step := 0; ; step++ {
		v, again := w.clone(), d.Copy()
		again.Fail(cutAfter(step), journaltest.Forgotten)
		if j, rec, err := journal.Open(small(again)); err == nil {
			v.name = name
			v.check(j, rec, false)
			v.append(j, 1, 700)
			j.Close()
		}
		for all := range 2 {
			u := v.clone()
			u.name = fmt.Sprintf("%s, then step %d, %d", name, step, all)
			u.reopen(again.Crash(func(n int) int { return all * min(1, n-1) }))
			cuts++
		}
		if again.Steps() <= step {
			return cuts
		}
	}
}

// TestFaultAtEachStep lets each step fail, alone and with those that follow, with every fate of the writes of a
// failed sync; the journal must recover by itself. Then it cuts the power.
func TestFaultAtEachStep(t *testing.T) {
	disk, cases := errors.New("input/output error"), 0
	for step := range steps(t) {
		for _, length := range []int{1, 2, 3, 5, 12} {
			for _, fate := range []journaltest.Fate{journaltest.Forgotten, journaltest.Kept, journaltest.Done} {
				synctest.Test(t, func(t *testing.T) {
					w, d := newWorld(t), journaltest.New()
					w.name = fmt.Sprintf("step %d, %d faults, fate %d", step, length, fate)
					d.Fail(func(s journaltest.Step) error {
						if s.Number > step && s.Number <= step+length {
							return disk
						}
						return nil
					}, fate)
					w.history(d)
					for all := range 2 {
						v := w.clone()
						v.name = fmt.Sprintf("%s, crash %d", w.name, all)
						v.reopen(d.Crash(func(n int) int { return all * (n - 1) }))
					}
				})
				cases++
			}
		}
	}
	t.Logf("%d histories with faults", cases)
}

// TestFlippedBits flips one bit of every byte of every file, after a clean end and after a kill: no safe record is
// wrong, and none is missing without a Gap.
func TestFlippedBits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), journaltest.New()
		w.history(d)
		flipped := w.flipEach("clean end", d)
		j, rec, err := journal.Open(small(d))
		if err != nil {
			t.Fatal(err)
		}
		w.check(j, rec, false)
		w.append(j, 2, 100)
		w.append(j, 1, 600)
		flipped += w.flipEach("kill", d.Copy())
		j.Close()
		t.Logf("%d flipped bits", flipped)
	})
}

// flipEach flips a bit of each byte, and returns how many.
func (w *world) flipEach(name string, d *journaltest.Disk) (flipped int) {
	for file, size := range d.Sizes() {
		for at := range size {
			v, c := w.clone(), d.Copy()
			v.name = fmt.Sprintf("%s, byte %d of %s", name, at, file)
			c.Flip(file, at, at%8)
			v.survive(c, 1+at%11/10)
		}
		flipped += size
	}
	return flipped
}

// survive opens a spoilt disk, checks it, and continues, a number of times.
func (w *world) survive(d *journaltest.Disk, times int) {
	w.t.Helper()
	for range times {
		j, rec, err := journal.Open(small(d))
		if err != nil {
			w.t.Fatalf("%s: %v", w.name, err)
		}
		w.check(j, rec, true)
		if times > 1 && !w.append(j, 1, 100) {
			w.t.Fatalf("%s: does not go on: %v", w.name, j.Err())
		}
		j.Close()
	}
}

// TestSpoiltSectors spoils each sector, and whole files with and without their frames.
func TestSpoiltSectors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), journaltest.New()
		w.history(d)
		for name, size := range d.Sizes() {
			for at := 0; at < size; at += 512 {
				w.spoil(d, name, at, 512)
			}
			w.spoil(d, name, 0, size)
			w.spoil(d, name, 512, size)
		}
	})
}

func (w *world) spoil(d *journaltest.Disk, name string, at, length int) {
	for _, value := range []byte{0, 0xA5} {
		v, c := w.clone(), d.Copy()
		v.name = fmt.Sprintf("%d bytes %x at %d of %s", length, value, at, name)
		if value == 0 && length > 512 {
			continue // a file that was never used
		}
		c.Spoil(name, at, length, value)
		v.survive(c, 2)
	}
}

// TestLongHistories runs for long, with everything at random: faults, kills, power cuts.
func TestLongHistories(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			w, d := newWorld(t), journaltest.New()
			for round := range 12 {
				w.name = fmt.Sprintf("seed %d, round %d", seed, round)
				w.randomRound(rnd, d)
				if rnd.IntN(3) == 0 {
					d = d.Kill()
				} else {
					d = d.Crash(rnd.IntN)
				}
			}
			w.reopen(d)
		})
	}
}

// randomRound uses a disk that may fail, from an Open to a crash.
func (w *world) randomRound(rnd *rand.Rand, d *journaltest.Disk) {
	j, rec, err := journal.Open(small(d))
	if err != nil {
		w.t.Fatalf("%s: %v", w.name, err)
	}
	w.check(j, rec, false)
	faulty, dice := rnd.IntN(2) == 0, rand.New(rand.NewPCG(rnd.Uint64(), 2)) // the disk's own
	d.Fail(func(journaltest.Step) error {
		if faulty && dice.IntN(20) == 0 {
			return errors.New("input/output error")
		}
		return nil
	}, journaltest.Fate(rnd.IntN(3)))
	for range rnd.IntN(30) {
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
		d.Fail(cutAfter(d.Steps()+rnd.IntN(20)), journaltest.Forgotten)
		for range 3 {
			w.append(j, 2, rnd.IntN(400))
		}
	}
	j.Close()
}
