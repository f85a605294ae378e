package storetest

import (
	"errors"
	"fmt"
	"runtime"
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

// walkAll visits what a filter finds, by small steps. It reads what is on the medium alone.
func walkAll(s Whole, filter string, now time.Time, visit func(*message.Message)) error {
	w := store.Walk{Filter: filter}
	for !w.Done {
		found, looked := s.Retained(&w, make([]store.Kept, 0, 2), 3, now)
		if looked > 3 || looked == 0 && !w.Done {
			return fmt.Errorf("looked at %d", looked)
		}
		for i, k := range found {
			m := k.Message
			if k.Stored() {
				p, lost, err := readPage(s, found[i:i+1])
				if lost > 0 || err != nil {
					return fmt.Errorf("%s: %d lost, %w", k.Topic, lost, err)
				}
				if m = p.Messages[0]; m == nil {
					continue // replaced meanwhile
				}
				if m.Size() != k.Size() {
					return fmt.Errorf("%s: %d bytes, %d before it was read", k.Topic, m.Size(), k.Size())
				}
			}
			visit(m)
		}
	}
	return nil
}

// readPage reads the page with which found begins.
func readPage(s Whole, found []store.Kept) (p *store.Page, lost int, err error) {
	p = store.RetainedPage(found)
	if err := s.Read(p); err != nil {
		return p, 0, err
	}
	return p, s.LoadRetained(p), nil
}

// unloadRetained waits until large retained messages of a durable store are on its medium alone, and returns all that a filter finds.
func unloadRetained(t *testing.T, s Whole, filter string, most int) (all []store.Kept) {
	t.Helper()
	commit(t, s)
	for {
		if u, ok := s.(interface{ UnloadRetained() }); ok { // for a medium that applies on demand
			u.UnloadRetained()
		}
		w := store.Walk{Filter: filter}
		all, _ = s.Retained(&w, make([]store.Kept, 0, 1000), 1000, start)
		if !slices.ContainsFunc(all, func(k store.Kept) bool { return s.Durable() && len(k.Payload) > most }) {
			return all
		}
		runtime.Gosched()
	}
}

// wantRetained compares the payloads that a filter finds.
func wantRetained(t *testing.T, s Whole, now time.Time, filter string, want ...string) {
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
	next := func(n int) (last store.Kept) {
		t.Helper()
		found, _ := s.Retained(&w, make([]store.Kept, 0, n), 100, start)
		for _, k := range found {
			seen, last = append(seen, string(k.Payload)), k
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

// foundFirst returns the first message that a filter finds.
func foundFirst(t *testing.T, s store.Store, filter string) store.Kept {
	t.Helper()
	w := store.Walk{Filter: filter}
	found, _ := s.Retained(&w, make([]store.Kept, 0, 1), 100, start)
	if len(found) == 0 {
		t.Fatalf("%s finds nothing", filter)
	}
	return found[0]
}

// What has taken a message's place is not removed in its stead.
func testUnretain(t *testing.T, open Open) {
	s := open(t, store.Options{})
	retain(t, s, msg("a", "old"))
	old := foundFirst(t, s, "a")
	retain(t, s, msg("a", "another"))
	newer := foundFirst(t, s, "a")
	for _, step := range []struct {
		k       store.Kept
		removed bool
	}{{old, false}, {newer, true}, {newer, false}} {
		if removed := s.Unretain(step.k); removed != step.removed {
			t.Errorf("removed %s: %t", step.k.Payload, removed)
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
		if _, looked := s.Retained(&w, make([]store.Kept, 0, 9), 1000, start); looked > most || !w.Done {
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
			found, _ := s.Retained(&w, make([]store.Kept, 0, 9), 100, start)
			for _, m := range found {
				got += string(m.Payload)
			}
		}
		if got != want {
			t.Errorf("up to %d: %q, want %q", number, got, want)
		}
	}
}

// few is a bound beyond which retained messages are large.
const few = 16

// largeMsg makes a message that is larger, with all that a message may have.
func largeMsg(topic, payload string) *message.Message {
	m := message.Message{
		Topic: topic, Payload: []byte(payload + strings.Repeat(".", few)), ContentType: "text/plain", Source: "publisher", Time: start.UnixMilli(),
		QoS: 1, PayloadFormat: 1, Properties: []message.Property{{Key: "k", Value: "v"}},
		Request: &message.Request{ResponseTopic: "answers", CorrelationData: []byte("7")},
	}
	return m.Clone()
}

// Large messages are the same in memory and on the medium, and count in the bounds, and in the account only while they are in memory.
func testRetainedLarge(t *testing.T, open Open) {
	account := new(message.Account)
	ms := []*message.Message{largeMsg("a", "1"), msg("b", "2"), largeMsg("c", "3"), largeMsg("c/d", "4"), msg("e", "5")}
	bytes := 0
	for _, m := range ms {
		bytes += m.Size()
	}
	s := open(t, store.Options{Account: account, Retained: store.RetainedLimits{InMemory: few, Bytes: bytes, PerDevice: 100}})
	retain(t, s, ms...)
	whole, _ := account.Bytes()
	found := unloadRetained(t, s, "#", few)
	if kept, _ := account.Bytes(); s.Durable() && kept > whole-3*few {
		t.Errorf("%d bytes are kept in memory of %d", kept, whole)
	}
	for i, k := range found {
		if want := ms[i]; k.Topic != want.Topic || k.ID != want.ID || k.Source != want.Source || k.Size() != want.Size() || k.Stored() != (s.Durable() && len(want.Payload) > few) {
			t.Errorf("found %+v, want the head of %+v", k, want)
		}
	}
	i := 0
	if err := walkAll(s, "#", start, func(m *message.Message) {
		if want := ms[i]; m.ID != want.ID || m.Source != want.Source || m.Time != want.Time || !m.Equal(want) {
			t.Errorf("read %+v, want %+v", m, want)
		}
		i++
	}); err != nil || i != len(ms) {
		t.Errorf("%d are read, %v", i, err)
	}
	if err := s.Retain(msg("f", "6"), start); !errors.Is(err, store.ErrFull) {
		t.Errorf("more than the bound in bytes: %v", err)
	}
	retain(t, s, msg("a", ""), msg("c", "small"), largeMsg("b", "2"))
	unloadRetained(t, s, "#", few)
	var got []string
	if err := walkAll(s, "#", start, func(m *message.Message) { got = append(got, fmt.Sprintf("%s=%.1s", m.Topic, m.Payload)) }); err != nil ||
		!slices.Equal(got, []string{"b=2", "c=s", "c/d=4", "e=5"}) {
		t.Errorf("found %q, %v", got, err)
	}
	retain(t, s, msg("b", ""), msg("c", ""), msg("c/d", ""), msg("e", ""))
	if kept, _ := account.Bytes(); kept != 0 {
		t.Errorf("nothing keeps %d bytes", kept)
	}
}

// What is replaced or removed between the search and the reading is not what was found. What was found before it left memory can be removed.
func testRetainedLargeChanges(t *testing.T, open Open) {
	s := open(t, store.Options{Retained: store.RetainedLimits{InMemory: few}})
	names := []string{"a", "b", "c", "d", "e"}
	for _, name := range names {
		retain(t, s, largeMsg(name, "old "))
	}
	before := foundFirst(t, s, "e")
	found := unloadRetained(t, s, "#", few)
	if !s.Unretain(before) {
		t.Error("what has left memory is another message")
	}
	if !s.Durable() {
		return
	}
	retain(t, s, msg("a", ""), largeMsg("b", "new "), msg("c", "small"))
	for _, when := range []string{"before the state has the changes", "behind that"} {
		p, lost, err := readPage(s, found)
		if err != nil || lost > 0 || len(p.Messages) != len(names) {
			t.Fatalf("%s: %d of %d messages are lost, %v", when, lost, len(p.Messages), err)
		}
		for i, m := range p.Messages {
			if (m != nil) != (names[i] == "d") {
				t.Errorf("%s: for %s, read %v", when, names[i], m)
			}
		}
		unloadRetained(t, s, "#", few)
	}
}

// A large message expires as any other.
func testRetainedLargeExpires(t *testing.T, open Open) {
	s := open(t, store.Options{Retained: store.RetainedLimits{InMemory: few, Count: 2, PerDevice: 100}})
	m := largeMsg("a", "1")
	m.Expiry = start.Add(time.Second).UnixMilli()
	retain(t, s, m, largeMsg("b", "2"))
	unloadRetained(t, s, "#", few)
	later := start.Add(time.Second)
	w := store.Walk{Filter: "#"}
	if found, _ := s.Retained(&w, make([]store.Kept, 0, 9), 9, later); len(found) != 1 {
		t.Errorf("found %v", found)
	}
	if err := s.Retain(msg("c", "3"), later); err != nil {
		t.Error(err)
	}
}

// A page has those that are on the medium alone, and no more than are read at once.
func testRetainedPages(t *testing.T, open Open) {
	s := open(t, store.Options{Retained: store.RetainedLimits{InMemory: few}})
	add := func(n, size int, prefix string) {
		for i := range n {
			retain(t, s, msg(fmt.Sprintf("%s%02d", prefix, i), strings.Repeat("x", size)))
			commit(t, s) // the journal of a test has little room
		}
	}
	add(33, few+1, "a")
	add(1, few, "b")
	add(20, 2000, "c")
	found := unloadRetained(t, s, "#", few)
	if !s.Durable() {
		return
	}
	for _, want := range []string{"32 from a00", "17 from a32", "4 from c16"} {
		p := store.RetainedPage(found)
		if got := fmt.Sprintf("%d from %s", len(p.Retained), p.Retained[0].Topic); got != want {
			t.Errorf("a page has %s, want %s", got, want)
		}
		for len(found) > 0 && (!found[0].Stored() || slices.ContainsFunc(p.Retained, func(k store.Kept) bool { return k == found[0] })) {
			found = found[1:]
		}
	}
	if len(found) > 0 {
		t.Errorf("%d are in no page", len(found))
	}
}
