package storetest

import (
	"errors"
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

// wantRetained compares the payloads that a filter finds.
func wantRetained(t *testing.T, s store.Store, now time.Time, filter string, want ...string) {
	t.Helper()
	var got []string
	err := s.Retained(filter, now, func(m *message.Message) bool {
		got = append(got, string(m.Payload))
		return true
	})
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
	retain(t, s, expiring("c", "3", start.Add(time.Minute))) // in the place of the first
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

func testRetainedReentrant(t *testing.T, open Open) {
	s := open(t, store.Options{})
	retain(t, s, msg("a", "1"), msg("b", "2"))
	n := 0
	err := s.Retained("+", start, func(m *message.Message) bool {
		n++
		return s.Retain(msg(m.Topic, ""), start) == nil && n < 1
	})
	if err != nil || n != 1 {
		t.Errorf("%d yielded after a stop at one, %v", n, err)
	}
}
