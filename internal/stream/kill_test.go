package stream

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/longline/longline/internal/journal/journaltest"
	"github.com/longline/longline/internal/message"
)

// past is what the clients of a stream know when its node is killed.
type past struct {
	sent, answered int // the last numbers
	first          int // of the oldest message that the stream had
}

// history publishes over several segments while a consumer reads and acknowledges. It ends when the power is cut.
func (w *world) history() (p past) {
	r, err := w.s.Open("c", First)
	if err != nil {
		w.t.Fatal(err)
	}
	w.values.held = true
	for p.sent < 80 {
		p.sent++
		if w.one(p.sent, message.AtLeastOnce) == nil {
			p.answered = p.sent
		}
		synctest.Wait()
		p.first = int(w.s.first())
		if p.sent%10 == 5 { // what is safe in the store is behind what is acknowledged
			w.values.release()
		}
		if p.answered < p.sent {
			return p
		}
		if p.sent%10 == 0 {
			batch, missed, err := r.Take(ended, 100, 1<<20, nil)
			if err != nil && p.sent > 10 || missed > 0 {
				w.t.Fatalf("missed %d, %v", missed, err)
			}
			for _, e := range batch {
				w.s.Acknowledge("c", e.Place, func(error) {})
			}
		}
	}
	return p
}

// segmentEntries is how many of the test's messages fill a segment.
const segmentEntries = 15

// after checks what a kill has left on a disk, and that the stream goes on.
func (w *world) after(what string, p past, disk *journaltest.Disk, values map[string][]byte) {
	w.t.Helper()
	n := &world{t: w.t, config: w.config, disk: disk, values: newPlaces(values)}
	n.start()
	defer n.stop()
	synctest.Wait() // until a segment is ready again, for which the oldest may have gone
	got, missed := n.rest(n.open("", First))
	switch {
	case missed > 0, len(got) > 0 && !slices.Equal(got, upTo(got[0], got[0]+len(got))):
		w.t.Fatalf("%s: missed %d, got %v", what, missed, got)
	case len(got) == 0 && p.answered > 0, len(got) > 0 && (got[0] > p.first+segmentEntries || got[len(got)-1] < p.answered || got[len(got)-1] > p.sent):
		w.t.Fatalf("%s: got %v after %+v", what, got, p)
	}
	for _, place := range values { // the consumer's
		from, _, err := parsePlace(place)
		if err != nil {
			w.t.Fatal(err)
		}
		first := int(from)
		if w.config.WhenFull == DropOldest {
			first = max(first, int(n.s.first()))
		}
		read, missed := n.rest(n.open("c", First))
		if missed > 0 || !slices.Equal(read, got[min(len(got), max(0, first-got0(got))):]) || len(read) > 0 && read[0] != first {
			w.t.Fatalf("%s: the consumer at %d missed %d, read %v of %v", what, from, missed, read, got)
		}
	}
	if w.config.WhenFull == Refuse { // it may be full
		n.open("c", First)
		n.acknowledge("c", uint64(n.s.journal.End()))
		synctest.Wait()
	}
	end := n.s.Info().End
	if err := n.one(1000, message.AtLeastOnce); err != nil {
		w.t.Fatalf("%s: does not go on: %v", what, err)
	}
	if batch, _, err := n.open("", After(end-1)).Take(w.t.Context(), 9, 1<<20, nil); err != nil || numberOf(w.t, batch[0]) != 1000 || batch[0].Place != end {
		w.t.Fatalf("%s: %v, %v", what, batch, err)
	}
}

func got0(got []int) int {
	if len(got) == 0 {
		return 0
	}
	return got[0]
}

// TestKillAtEveryStep cuts the power at each step of a history on the disk, and checks what several outcomes of that leave.
func TestKillAtEveryStep(t *testing.T) {
	for _, when := range []string{DropOldest, Refuse} {
		t.Run(when, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			for cut, ended := 1, false; !ended; cut++ {
				synctest.Test(t, func(t *testing.T) {
					w := &world{t: t, config: Config{MaxBytes: 4 * 8 << 10, WhenFull: when}, disk: journaltest.New(), values: newPlaces(nil)}
					w.disk.Fail(func(s journaltest.Step) error {
						if s.Number == cut {
							return journaltest.ErrPowerCut
						}
						return nil
					}, journaltest.Forgotten)
					defer w.stop()
					if w.try() != nil {
						return
					}
					p := w.history()
					ended = p.answered == 80
					what := fmt.Sprintf("step %d", cut)
					values := w.values.kept()
					for range 2 {
						w.after(what, p, w.disk.Fork().Crash(rng.IntN), values)
					}
					w.after(what+", killed alone", p, w.disk.Fork(), values)
				})
				if t.Failed() {
					return
				}
			}
		})
	}
}
