package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

func retain(t *testing.T, s store.Store, ms ...*message.Message) {
	t.Helper()
	for _, m := range ms {
		if err := s.Retain(m, start); err != nil {
			t.Fatal(err)
		}
	}
}

// walkAll visits what a filter finds, by small steps.
func walkAll(s store.Store, filter string, now time.Time, visit func(*message.Message)) error {
	w := store.Walk{Filter: filter}
	for !w.Done {
		found, looked := s.Retained(&w, make([]*message.Message, 0, 2), 3, now)
		if looked > 3 || looked == 0 && !w.Done {
			return fmt.Errorf("looked at %d", looked)
		}
		for _, m := range found {
			visit(m)
		}
	}
	return nil
}

// wantRetained compares the payloads that a filter finds.
func wantRetained(t *testing.T, s store.Store, now time.Time, filter string, want ...string) {
	t.Helper()
	var got []string
	err := walkAll(s, filter, now, func(m *message.Message) { got = append(got, string(m.Payload)) })
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("filter %q: got %q, %v; want %q", filter, got, err, want)
	}
}

func testRetained(t *testing.T, open Open) {
	s := open(t, store.Options{})
	retain(t, s, msg("a/b", "0"), msg("a/c", "2"), msg("a", "3"), msg("$x/b", "4"), msg("a/b", "1"))
	wantRetained(t, s, start, "a/b", "1")
	wantRetained(t, s, start, "a/+", "1", "2")
	wantRetained(t, s, start, "a/#", "1", "2", "3")
	wantRetained(t, s, start, "#", "1", "2", "3")
	wantRetained(t, s, start, "$x/#", "4")
	wantRetained(t, s, start, "nothing")
	retain(t, s, msg("a/b", ""), msg("nothing", ""))
	wantRetained(t, s, start, "#", "2", "3")
}

func testRetainedExpiry(t *testing.T, open Open) {
	s := open(t, store.Options{Retained: store.RetainedLimits{Count: 2}})
	retain(t, s, expiring("a", "1", start.Add(time.Second)), msg("b", "2"))
	wantRetained(t, s, start, "#", "1", "2")
	now := start.Add(time.Second)
	wantRetained(t, s, now, "#", "2")
	if err := s.Retain(expiring("c", "3", start.Add(time.Minute)), now); err != nil { // replaces the first
		t.Fatal(err)
	}
	wantRetained(t, s, now, "#", "2", "3")

	now = start.Add(time.Minute) // now without a look that finds the third
	if err := s.Retain(msg("d", "4"), now); err != nil {
		t.Fatal(err)
	}
	wantRetained(t, s, now, "#", "2", "4")
	if err := s.Retain(expiring("d", "5", now), now); err != nil {
		t.Fatal(err)
	}
	wantRetained(t, s, now, "#", "2") // too late itself, it only removes
}

func testRetainedLimits(t *testing.T, open Open) {
	s := open(t, store.Options{Retained: store.RetainedLimits{Count: 2, Bytes: 20}})
	refused := func(m *message.Message, limit string) {
		t.Helper()
		err := s.Retain(m, start)
		if !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), limit) {
			t.Errorf("error %v does not name the limit of %s", err, limit)
		}
	}
	retain(t, s, msg("a", "1"), msg("b", "2"))
	refused(msg("c", "3"), "2 retained messages")
	refused(msg("b", strings.Repeat("x", 19)), "20 bytes")
	wantRetained(t, s, start, "#", "1", "2")
	retain(t, s, msg("b", strings.Repeat("x", 17))) // fills it to the byte
	refused(msg("a", "11"), "20 bytes")
	retain(t, s, msg("b", "2"), msg("a", "11"))
	wantRetained(t, s, start, "#", "11", "2")
}

// What changes during a walk is found if it is ahead, and nothing twice.
func testRetainedWalk(t *testing.T, open Open) {
	s := open(t, store.Options{})
	for _, name := range []string{"a", "b", "c", "d", "e/f", "e/g"} {
		retain(t, s, msg(name, "old "+name))
	}
	w, seen := store.Walk{Filter: "#"}, []string{}
	next := func(n int) (last *message.Message) {
		t.Helper()
		found, _ := s.Retained(&w, make([]*message.Message, 0, n), 100, start)
		for _, m := range found {
			seen, last = append(seen, string(m.Payload)), m
		}
		return last
	}
	next(2)
	retain(t, s, msg("a", "new"), msg("b", ""), msg("c", ""), msg("c/a", "new c/a"), msg("e/f", "new e/f"))
	last := next(2)
	w.Back(last)
	next(3)
	if want := []string{"old a", "old b", "new c/a", "old d", "old d", "new e/f", "old e/g"}; !slices.Equal(seen, want) || !w.Done {
		t.Errorf("found %q, want %q; done %t", seen, want, w.Done)
	}
}

// What has taken a message's place is not removed in its stead.
func testUnretain(t *testing.T, open Open) {
	s := open(t, store.Options{})
	old := msg("a", "old")
	retain(t, s, old)
	for _, step := range []struct {
		m       *message.Message
		removed bool
	}{{msg("a", "another"), false}, {old, true}, {old, false}} {
		if removed := s.Unretain(step.m); removed != step.removed {
			t.Errorf("removed %s: %t", step.m.Payload, removed)
		}
	}
	wantRetained(t, s, start, "#")
}

// A walk looks at little of what cannot match.
func testRetainedLooks(t *testing.T, open Open) {
	s := open(t, store.Options{})
	for i := range 500 {
		retain(t, s, msg(fmt.Sprintf("a/%03d/x", i), "1"), msg(fmt.Sprintf("b/%03d", i), "1"))
	}
	for filter, most := range map[string]int{"a/250/#": 2, "+/250/x": 6, "b/001": 1, "c/#": 0, "+": 4, "b/+/x/y": 501} {
		w := store.Walk{Filter: filter}
		if _, looked := s.Retained(&w, make([]*message.Message, 0, 9), 1000, start); looked > most || !w.Done {
			t.Errorf("%q: looked at %d, want at most %d; done %t", filter, looked, most, w.Done)
		}
	}
}

// A walk passes over what was retained after a number, whatever the IDs are.
func testRetainedNewest(t *testing.T, open Open) {
	s := open(t, store.Options{})
	first := msg("a", "1")
	first.ID = 1 << 52 // of another node, or of a clock that was set back
	retain(t, s, first)
	newest := s.NewestRetained()
	retain(t, s, msg("b", "2"))
	for number, want := range map[uint64]string{newest: "1", s.NewestRetained(): "12", 0: "12"} {
		w, got := store.Walk{Filter: "#", Newest: number}, ""
		for !w.Done {
			found, _ := s.Retained(&w, make([]*message.Message, 0, 9), 100, start)
			for _, m := range found {
				got += string(m.Payload)
			}
		}
		if got != want {
			t.Errorf("up to %d: %q, want %q", number, got, want)
		}
	}
}
