package storetest

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// Killable is a durable store that a test can end without a word.
type Killable interface {
	Whole
	// Kill returns the stores that may be found if the process ends now: all that was committed is in each. The
	// store goes on.
	Kill(t *testing.T) []Whole
}

// OnJournal is a Killable store on a Journal in memory.
type OnJournal struct {
	*store.Memory
	options store.Options
	journal *Journal
}

// NewOnJournal returns an empty one.
func NewOnJournal(o store.Options) *OnJournal {
	j := NewJournal(0)
	j.behind = 2
	return &OnJournal{store.NewJournaled(o, j), o, j}
}

// Kill implements Killable: the journal is cut off behind each operation since the last fence, and what is left of it is
// applied once, and again from each place.
func (s *OnJournal) Kill(t *testing.T) (found []Whole) {
	for n := s.journal.Safe(); n <= s.journal.Len(); n++ {
		left := s.journal.Kill(n)
		found = append(found, left.Open(t, s.options))
		for from := range n {
			found = append(found, left.Open(t, s.options, from))
		}
	}
	return found
}

// Restart returns the store that is found after an orderly end.
func (s *OnJournal) Restart(t testing.TB) *OnJournal {
	j := s.journal.Kill(s.journal.Len())
	return &OnJournal{j.Open(t, s.options), s.options, j}
}

// Len returns how many operations there were.
func (s *OnJournal) Len() int { return s.journal.Len() }

// Fences returns how many fences were asked for.
func (s *OnJournal) Fences() int {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return s.journal.fences
}

// commit waits for a fence.
func commit(t *testing.T, s store.Store) {
	t.Helper()
	safe := make(chan error, 1)
	s.Commit(func(err error) { safe <- err })
	if err := <-safe; err != nil {
		t.Fatal(err)
	}
}

// RunDurable tests what holds for a durable store beside what Run tests.
func RunDurable(t *testing.T, open func(t *testing.T, o store.Options) Killable) {
	t.Run("KilledBehindFences", func(t *testing.T) { testKill(t, open, 1) })
	t.Run("KilledBetweenFences", func(t *testing.T) { testKill(t, open, 4) })
	t.Run("KilledBeforeFences", func(t *testing.T) { testKill(t, open, 1000) })
	t.Run("Orphans", func(t *testing.T) { testOrphans(t, open) })
	t.Run("NotDurable", func(t *testing.T) { testNotDurable(t, open) })
}

// step is one change, and what it makes of the lines that tell what the store holds.
type step struct {
	name string
	do   func()
	line string // which is changed; empty when none is
	text string // what it says then; empty when all lines are gone that end so
}

// testKill kills a store behind each step of some lives of two sessions: what is found is the state behind a step that is
// not older than the last fence, of which there is one behind so many steps.
func testKill(t *testing.T, open func(t *testing.T, o store.Options) Killable, every int) {
	s := open(t, store.Options{Retained: store.RetainedLimits{InMemory: few}})
	if !s.Durable() {
		t.Fatal("the store is not durable")
	}
	now := map[string]string{}
	states := []map[string]string{maps.Clone(now)} // behind each step since the last fence
	for i, step := range lives(t, s) {
		step.do()
		if step.text != "" {
			now[step.line] = step.text
		} else if step.line != "" {
			maps.DeleteFunc(now, func(line, _ string) bool { return strings.HasSuffix(line, step.line) })
		}
		states = append(states, maps.Clone(now))
		if (i+1)%every == 0 {
			commit(t, s)
			states = states[len(states)-1:]
		}
		for _, again := range s.Kill(t) {
			wantState(t, step.name, again, states)
		}
	}
}

// wantState checks that a store holds one of the states.
func wantState(t *testing.T, behind string, s Whole, states []map[string]string) {
	t.Helper()
	got := stateOf(t, s)
	for _, state := range states {
		if maps.Equal(got, state) {
			return
		}
	}
	t.Fatalf("killed behind %q: found\n\t%v, want\n\t%v\nor one of %d before", behind, got, states[len(states)-1], len(states)-1)
}

// stateOf tells what a store holds that was found after a kill, in lines. It uses the queues up.
func stateOf(t *testing.T, s Whole) map[string]string {
	t.Helper()
	lines := map[string]string{}
	line := func(name, text string) {
		if text != "" {
			lines[name] = text
		}
	}
	err := s.Records(func(r *store.Record) bool {
		will := ""
		if r.Will != nil {
			will = fmt.Sprintf(" will %s=%s after %v for %v", r.Will.Message.Topic, r.Will.Message.Payload, r.Will.Delay, r.Will.Expiry)
		}
		left := (r.Left + 5_000) / 10_000 // a store may tell times by another clock, with an error
		line("record "+r.Device, fmt.Sprintf("session %d expiry %v left %d missed %d%s%s", r.Session, r.Expiry, left, r.Missed, subscriptionsOf(r), will))
		line("received "+r.Device, strings.Trim(fmt.Sprint(r.Received), "[]"))
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, device := range []string{"d", "e"} {
		q := s.Queue(device)
		loadAll(t, s, q)
		all := packetsOf(q, start, 0)
		for i, text := range all {
			if name, id, _ := strings.Cut(text, ":"); !strings.HasSuffix(id, "+") { // it gets whatever is free
				all[i] = name
			}
		}
		for _, id := range releasesOf(q) {
			all = append(all, fmt.Sprint("released:", id))
		}
		line("queue "+device, strings.Join(all, " "))
	}
	for space := store.SpacePlace; space <= store.SpaceOrphan; space++ {
		values, err := s.TakeValues(space)
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range values {
			lines[fmt.Sprintf("value %d %s", space, key)] = fmt.Sprintf("%q", value)
		}
		if again, err := s.TakeValues(space); err != nil || len(again) > 0 {
			t.Fatalf("values are taken twice: %q, %v", again, err)
		}
	}
	if err = walkAll(s, "#", start, func(m *message.Message) { line("retained "+m.Topic, string(m.Payload)) }); err != nil {
		t.Fatal(err)
	}
	return lines
}

func subscriptionsOf(r *store.Record) (all string) {
	for _, sub := range r.Subscriptions {
		all += fmt.Sprintf(" %s %d", sub.Filter, sub.QoS)
		if sub.Special() || sub.RetainHandling != 0 {
			all += fmt.Sprintf("/%d %t %t %d %t", sub.ID, sub.NoLocal, sub.RetainAsPublished, sub.RetainHandling, sub.Conflate)
		}
	}
	return all
}

// lives are the steps. Each changes one thing.
func lives(t *testing.T, s Killable) []step {
	d, e, now := s.Queue("d"), s.Queue("e"), start
	save := func(r store.Record) func() { return func() { s.Save(&r) } }
	pushes := func(q *store.Queue, qos message.QoS, m *message.Message) func() {
		return func() { push(t, *q, qos, m) }
	}
	next := func(q *store.Queue, last uint16) func() {
		return func() {
			if _, ok := (*q).NextPacket(now, last); !ok {
				t.Error("nothing is to be sent")
			}
		}
	}
	wants := func(f func() bool) func() {
		return func() {
			if !f() {
				t.Error("a step changes nothing")
			}
		}
	}
	large := func(payload string) *message.Message { return msg("l", payload+strings.Repeat(".", few)) }
	largeText := func(payload string) string { return payload + strings.Repeat(".", few) }
	subs := []topic.Subscription{{Filter: "a/#", QoS: 1}, {Filter: "b", QoS: 2, ID: 7, NoLocal: true, RetainAsPublished: true, RetainHandling: topic.RetainNever, Conflate: true}}
	return []step{
		{"begin", save(store.Record{Device: "d", Session: 7, Expiry: time.Hour}), "record d", "session 7 expiry 1h0m0s left 0 missed 0"},
		{"subscribe", save(store.Record{Device: "d", Session: 7, Expiry: time.Hour, Subscriptions: subs[:1]}), "record d", "session 7 expiry 1h0m0s left 0 missed 0 a/# 1"},
		{"subscribe once more", save(store.Record{Device: "d", Session: 7, Expiry: time.Hour, Subscriptions: subs}), "record d", "session 7 expiry 1h0m0s left 0 missed 0 a/# 1 b 2/7 true true 2 true"},
		{"begin another", save(store.Record{Device: "e", Session: 8, Expiry: time.Minute, Will: &store.Will{Message: msg("w", "bye"), Delay: time.Second, Expiry: time.Hour}}),
			"record e", "session 8 expiry 1m0s left 0 missed 0 will w=bye after 1s for 1h0m0s"},
		{"push", pushes(&d, qos1, msg("a", "one")), "queue d", "one"},
		{"push QoS 0", pushes(&d, qos0, msg("a", "none")), "", ""},
		{"push QoS 2", pushes(&d, qos2, msg("a", "two")), "queue d", "one two"},
		{"push to another", pushes(&e, qos1, msg("a", "one")), "queue e", "one"},
		{"push a third", pushes(&d, qos2, msg("a", "three")), "queue d", "one two three"},
		{"send", next(&d, 0), "queue d", "one:1+ two three"},
		{"send QoS 0", next(&d, 1), "", ""},
		{"send QoS 2", next(&d, 1), "queue d", "one:1+ two:2+ three"},
		{"send a third", next(&d, 2), "queue d", "one:1+ two:2+ three:3+"},
		{"PUBACK", wants(func() bool { m, _ := d.Acked(1); return m != 0 }), "queue d", "two:2+ three:3+"},
		{"PUBREC leaves the queue", wants(func() bool { m, _, _ := d.Received(3, false, now); return m != 0 }), "queue d", "two:2+ released:3"},
		{"leave", func() { d.Rewind() }, "", ""},
		{"unsubscribe", save(store.Record{Device: "d", Session: 7, Expiry: time.Hour, Subscriptions: subs[:1]}), "record d", "session 7 expiry 1h0m0s left 0 missed 0 a/# 1"},
		{"left", save(store.Record{Device: "d", Session: 7, Expiry: time.Hour, Left: 990_000, Missed: 3, Subscriptions: subs[:1]}), "record d", "session 7 expiry 1h0m0s left 99 missed 3 a/# 1"},
		{"subscribe otherwise", save(store.Record{Device: "d", Session: 7, Expiry: time.Hour, Left: 990_000, Missed: 3, Subscriptions: []topic.Subscription{{Filter: "a/#", QoS: 2}}}), "record d", "session 7 expiry 1h0m0s left 99 missed 3 a/# 2"},
		{"push while away", pushes(&d, qos1, msg("a", "four")), "queue d", "two:2+ four released:3"},
		{"PUBREL", wants(func() bool { _, ok := d.NextRelease(now); return ok }), "", ""},
		{"send again", next(&d, 3), "", ""},
		{"send JSON", wants(func() bool { _, _, ok := d.Next(now); return ok }), "", ""},
		{"receive", func() { s.Receive("d", 5) }, "received d", "5"},
		{"receive a second", func() { s.Receive("d", 4) }, "received d", "4 5"},
		{"release", func() { s.Release("d", 5) }, "received d", "4"},
		{"retain", func() { retain(t, s, msg("a", "1")) }, "retained a", "1"},
		{"retain another", func() { retain(t, s, msg("b", "3")) }, "retained b", "3"},
		{"retain in its place", func() { retain(t, s, msg("a", "2")) }, "retained a", "2"},
		{"retain nothing", func() { retain(t, s, msg("a", "")) }, "retained a", ""},
		{"unretain", wants(func() bool { return s.Unretain(foundFirst(t, s, "b")) }), "retained b", ""},
		{"retain a large one", func() { retain(t, s, large("1")) }, "retained l", largeText("1")},
		{"retain a large one in its place", func() { retain(t, s, large("2")) }, "retained l", largeText("2")},
		{"retain a small one in its place", func() { retain(t, s, msg("l", "3")) }, "retained l", "3"},
		{"retain a large one for a small one", func() { retain(t, s, large("4")) }, "retained l", largeText("4")},
		{"unretain a large one", wants(func() bool { return s.Unretain(foundFirst(t, s, "l")) }), "retained l", ""},
		{"retain a large one again", func() { retain(t, s, large("5")) }, "retained l", largeText("5")},
		{"put", func() { s.Put(store.SpaceCommand, "k", []byte("1")) }, "value 2 k", `"1"`},
		{"put another", func() { s.Put(store.SpaceCommand, "k\x00l", []byte{}) }, "value 2 k\x00l", `""`},
		{"put in another space", func() { s.Put(store.SpacePlace, "k", []byte("3")) }, "value 1 k", `"3"`},
		{"put in its place", func() { s.Put(store.SpaceCommand, "k", []byte("4")) }, "value 2 k", `"4"`},
		{"remove a value", func() { s.Put(store.SpaceCommand, "k", nil) }, "value 2 k", ""},
		{"acknowledge JSON", wants(func() bool { return d.Len() == 2 && d.InFlight() == 2 }), "", ""},
		{"PUBCOMP", wants(func() bool { ok, _ := d.Completed(3); return ok }), "queue d", "two:2+ four"},
		{"release all", func() { s.Release("d", 0) }, "received d", ""},
		{"end", func() { s.Drop("e") }, " e", ""},
		{"open again", func() { e = s.Queue("e") }, "", ""},
		{"begin again", save(store.Record{Device: "e", Session: 9, Expiry: time.Minute}), "record e", "session 9 expiry 1m0s left 0 missed 0"},
		{"push again", pushes(&e, qos2, msg("a", "new")), "queue e", "new"},
		{"send to the new one", next(&e, 9), "queue e", "new:10+"},
		{"rewind", func() { e.Rewind() }, "", ""},
		{"PUBREL to the lost", wants(func() bool { _, ok := e.DropOldest(); return ok }), "queue e", "released:10"},
	}
}

// What belongs to no record is not durable, until there is one.
func testNotDurable(t *testing.T, open func(t *testing.T, o store.Options) Killable) {
	s := open(t, store.Options{})
	q := s.Queue("d")
	push(t, q, qos1, msg("a", "one"))
	push(t, q, qos2, msg("a", "two"), msg("a", "three"))
	if p, ok := q.NextPacket(start, 0); !ok || p.ID != 1 {
		t.Fatal("nothing is sent")
	}
	for _, again := range s.Kill(t) {
		wantState(t, "no record", again, []map[string]string{{}})
	}
	s.Save(&store.Record{Device: "d", Session: 1})
	commit(t, s)
	for _, again := range s.Kill(t) {
		wantState(t, "a record", again, []map[string]string{{
			"record d": "session 1 expiry 0s left 0 missed 0",
			"queue d":  "one:1+ two three",
		}})
	}
}

// A message that goes from one queue to another by way of the orphans is in one of the three, whenever the store is killed.
func testOrphans(t *testing.T, open func(t *testing.T, o store.Options) Killable) {
	s := open(t, store.Options{})
	for _, device := range []string{"d", "e"} {
		s.Save(&store.Record{Device: device, Session: 1, Expiry: time.Hour})
	}
	d, e := s.Queue("d"), s.Queue("e")
	push(t, d, qos1, msg("a", "one"), msg("a", "two"))
	push(t, d, qos0, msg("a", "none"))
	commit(t, s)
	value := func(m *message.Message) string { return fmt.Sprintf("%q", message.AppendRecord(nil, m)) }
	state := map[string]string{
		"record d": "session 1 expiry 1h0m0s left 0 missed 0", "record e": "session 1 expiry 1h0m0s left 0 missed 0",
		"queue d": "one two",
	}
	states := []map[string]string{maps.Clone(state)}
	after := func(behind string, change map[string]string) {
		t.Helper()
		for line, text := range change {
			if state[line] = text; text == "" {
				delete(state, line)
			}
		}
		states = append(states, maps.Clone(state))
		for _, again := range s.Kill(t) {
			wantState(t, behind, again, states)
		}
	}
	var out []*message.Message
	remove := func(payload, key string) {
		d.Remove(func(m *message.Message, _ message.QoS) (string, bool) {
			if string(m.Payload) != payload {
				return "", false
			}
			out = append(out, m.With(&message.Delivery{Orphan: key}))
			return key, true
		}, start)
	}
	remove("one", "k")
	after("remove", map[string]string{"queue d": "two", "value 4 k": value(out[0])})
	push(t, e, qos1, out[0])
	after("push", map[string]string{"queue e": "one", "value 4 k": ""})
	remove("two", "l")
	after("remove another", map[string]string{"queue d": "", "value 4 l": value(out[1])})
	s.Drop("d")
	after("drop", map[string]string{"record d": ""})
	s.Save(&store.Record{Device: "d", Session: 2, Expiry: time.Hour})
	after("begin again", map[string]string{"record d": "session 2 expiry 1h0m0s left 0 missed 0"})
	d = s.Queue("d")
	for _, queued := range []string{"1", "1 2", "1 2 3"} { // the numbers in the queue are used again
		push(t, d, qos1, msg("a", queued[len(queued)-1:]))
		after("push "+queued, map[string]string{"queue d": queued})
	}
	s.Put(store.SpaceOrphan, "l", nil)
	after("remove the orphan", map[string]string{"value 4 l": ""})
	remove("2", "")
	after("remove without a key", map[string]string{"queue d": "1 3"})
}
