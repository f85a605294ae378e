package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/journal/journaltest"
)

// world is what the publishers of a journal know, over any number of crashes.
type world struct {
	t       *testing.T
	name    string // of the case, for messages
	said    map[string]bool
	safe    map[journal.Place]string
	trimmed journal.Place
	serial  int
}

func newWorld(t *testing.T) *world {
	return &world{t: t, said: map[string]bool{}, safe: map[journal.Place]string{}}
}

// small are options under which a few records fill a segment.
func small(fs journal.FS) journal.Options {
	return journal.Options{FS: fs, SegmentSize: 4096, Pending: 1000}
}

// append appends n records of a size at once and waits for their claims. It reports whether all
// are safe.
func (w *world) append(j *journal.Journal, n, size int) bool {
	type told struct {
		i   int
		err error
	}
	answers := make(chan told, n)
	places, texts := make([]journal.Place, n), make([]string, n)
	waiting := 0
	for i := range n {
		w.serial++
		texts[i] = fmt.Sprintf("record %d %s", w.serial, bytes.Repeat([]byte{'x'}, size))
		w.said[texts[i]] = true
		place, err := j.Append([]byte(texts[i]), func(err error) { answers <- told{i, err} })
		if err == nil {
			places[i] = place
			waiting++
		}
	}
	all := waiting == n
	answered := make([]bool, n)
	for range waiting {
		a := <-answers
		if answered[a.i] {
			w.t.Fatalf("%s: %.12q is told twice", w.name, texts[a.i])
		}
		answered[a.i] = true
		if a.err != nil {
			all = false
			continue
		}
		if old, ok := w.safe[places[a.i]]; ok {
			w.t.Fatalf("%s: place %d was given to %.12q and to %.12q", w.name, places[a.i], old, texts[a.i])
		}
		w.safe[places[a.i]] = texts[a.i]
	}
	return all
}

func (w *world) trim(j *journal.Journal, p journal.Place) {
	w.trimmed = max(w.trimmed, p)
	j.Trim(p)
}

// ended is a context that does not wait.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// read returns what a journal has from a place on, and what it reports as missing.
func read(t testing.TB, j *journal.Journal, from journal.Place) (map[journal.Place]string, []journal.Gap) {
	found, gaps := make(map[journal.Place]string), []journal.Gap(nil)
	r := j.Reader(from)
	for next := from; ; {
		rec, err := r.Next(ended)
		gap := new(journal.Gap)
		switch {
		case errors.As(err, &gap):
			if gap.From < next || gap.To <= gap.From {
				t.Fatalf("gap from %d to %d after place %d", gap.From, gap.To, next)
			}
			gaps, next = append(gaps, *gap), gap.To
			continue
		case errors.Is(err, context.Canceled):
			return found, gaps
		case err != nil:
			t.Fatal(err)
		case next != 0 && rec.Place != next:
			t.Fatalf("place %d after %d", rec.Place, next)
		}
		found[rec.Place], next = string(rec.Data), rec.Place+1
	}
}

// check reads a journal from where it was trimmed. All safe records must be there, or in a Gap if
// the disk was spoilt; any other record must have been appended once.
func (w *world) check(j *journal.Journal, rec journal.Recovery, spoilt bool) {
	w.t.Helper()
	found, gaps := read(w.t, j, w.trimmed)
	if rec.Cut != nil {
		gaps = append(gaps, *rec.Cut)
	}
	if _, missing := read(w.t, j, 0); !spoilt && len(rec.Lost)+len(missing) > 0 {
		w.t.Fatalf("%s: lost without reason: %v, %v", w.name, rec.Lost, missing)
	}
	for place, text := range w.safe {
		got, ok := found[place]
		switch {
		case place < w.trimmed:
		case ok && got != text:
			w.t.Fatalf("%s: place %d has %.12q, not %.12q", w.name, place, got, text)
		case ok:
		case !spoilt:
			w.t.Fatalf("%s: place %d of %d-%d is lost; %+v %v", w.name, place, j.First(), j.End(), rec, gaps)
		case !covered(place, append(gaps, rec.Lost...)):
			w.t.Fatalf("%s: place %d of %d-%d is lost in silence; %+v", w.name, place, j.First(), j.End(), rec)
		case place >= j.End():
			delete(w.safe, place) // cut: it is given again
		}
	}
	for place, text := range found {
		if place >= w.trimmed && !w.said[text] {
			w.t.Fatalf("%s: place %d has %.12q, which nobody said", w.name, place, text)
		}
		if w.safe[place] == "" {
			w.safe[place] = text // from now on it stays
		}
	}
}

func covered(p journal.Place, gaps []journal.Gap) bool {
	for _, g := range gaps {
		if g.From <= p && p < g.To {
			return true
		}
	}
	return false
}

// history appends over several segments, with trimming, reuse, and a clean end.
func (w *world) history(fs journal.FS) {
	j, rec, err := journal.Open(small(fs))
	if err != nil {
		return
	}
	w.check(j, rec, false)
	for i, size := range []int{10, 600, 10, 300, 450, 10, 700, 200, 10, 600, 300, 700, 650, 20} {
		w.append(j, 1+i%2, size/(1+i%2))
		if i%3 == 2 {
			w.trim(j, j.End()-1)
		}
		synctest.Wait()
	}
	j.Close()
}

// choices iterates over all sequences of choices.
type choices struct {
	made, of []int
	at       int
}

func (c *choices) choose(n int) int {
	if c.at == len(c.made) {
		c.made, c.of = append(c.made, 0), append(c.of, n)
	}
	c.at++
	return c.made[c.at-1]
}

// next moves to the next sequence, and reports whether there is one.
func (c *choices) next() bool {
	c.at = 0
	for n := len(c.made); n > 0; n = len(c.made) {
		if c.made[n-1]++; c.made[n-1] < c.of[n-1] {
			return true
		}
		c.made, c.of = c.made[:n-1], c.of[:n-1]
	}
	return false
}

func (w *world) clone() *world {
	c := *w
	c.said, c.safe = make(map[string]bool), make(map[journal.Place]string)
	for k := range w.said {
		c.said[k] = true
	}
	for k, v := range w.safe {
		c.safe[k] = v
	}
	return &c
}

// reopen checks what a crash has left, and that the journal continues from there.
func (w *world) reopen(d *journaltest.Disk) {
	w.t.Helper()
	j, rec, err := journal.Open(small(d))
	if err != nil {
		w.t.Fatalf("%s: %v", w.name, err)
	}
	w.check(j, rec, false)
	if !w.append(j, 1, 100) {
		w.t.Fatalf("%s: does not go on: %v", w.name, j.Err())
	}
	j.Close()
}
