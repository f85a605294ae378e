package session

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// looking is a store that counts how many retained messages are looked at.
type looking struct {
	storetest.Whole
	looks int
}

func (s *looking) Retained(w *store.Walk, found []store.Kept, looks int, now time.Time) ([]store.Kept, int) {
	found, looked := s.Whole.Retained(w, found, looks, now)
	s.looks += looked
	return found, looked
}

// repeated is a filter as often as said.
func repeated(filter string, n int) []string { return slices.Repeat([]string{filter}, n) }

// Neither a packet nor a turn of the loop looks at more than a bounded number of retained
// messages, whatever is stored and whatever a packet names.
func TestLooksForRetainedInParts(t *testing.T) {
	const stored, slack = 5000, searchBatch
	some := func(filter string) (all []string) {
		for i := range 200 {
			all = append(all, fmt.Sprintf(filter, i))
		}
		return all
	}
	for name, test := range map[string]struct {
		filters []string
		found   int
	}{
		"all":             {[]string{"device/evil/#"}, stored},
		"one filter, 64x": {repeated("device/evil/#", 64), stored},
		"none":            {[]string{"device/evil/+/+/x"}, 0},
		"none, many":      {some("device/evil/+/+/x%d"), 0},
		"overlapping":     {append(some("+/evil/%d/a"), "device/#"), stored},
	} {
		t.Run(name, func(t *testing.T) {
			s := &looking{Whole: store.NewMemory(store.Options{})}
			w := newWorldOn(t, Config{}, s)
			for i := range stored {
				w.retain(fmt.Sprintf("device/evil/%d/a", i), "x")
			}
			c := w.connect("d", Options{})
			c.sub(1, 0, test.filters...)
			for turns := 0; s.looks > 0; turns++ {
				if s.looks > looksPerTurn+slack {
					t.Fatalf("turn %d looks at %d", turns, s.looks)
				}
				s.looks = 0
				c.step()
			}
			if c.link.Searches() {
				t.Error("it searches still")
			}
			found := make(map[string]bool)
			for _, line := range c.log[2:] {
				found[line] = true
			}
			if len(found) != test.found || len(c.log)-2 != test.found {
				t.Errorf("%d came, %d of them different, want %d", len(c.log)-2, len(found), test.found)
			}
		})
	}
}

// What is retained while a session searches is news, which comes once; what was retained before
// and is ahead of the search comes unless something came in its place.
func TestNewsDuringTheSearch(t *testing.T) {
	w := newWorld(t, Config{})
	for i := range 2 * looksPerTurn {
		w.retain(fmt.Sprintf("a/%04d", i), "old")
	}
	c := w.connect("d", Options{})
	c.sub(1, 0, "a/#")
	w.retain("a/0000", "new")
	w.retain(fmt.Sprintf("a/%04d", 2*looksPerTurn-1), "new")
	w.retain("a/x", "new")
	for c.step() {
	}
	seen := make(map[string]int)
	for _, line := range c.log[2:] {
		seen[line]++
	}
	for line, want := range map[string]int{
		"a/0000=old qos 0": 1, "a/0000=new qos 0": 1,
		"a/0511=old qos 0": 0, "a/0511=new qos 0": 1, "a/x=new qos 0": 1,
	} {
		if seen[line] != want {
			t.Errorf("%s came %d times, want %d", line, seen[line], want)
		}
	}
	if len(c.log)-2 != 2*looksPerTurn+2 {
		t.Errorf("%d came", len(c.log)-2)
	}
}

// A device away goes on where it was.
func TestSearchOutlivesTheConnection(t *testing.T) {
	const all = 3 * looksPerTurn
	w := newWorld(t, Config{})
	for i := range all {
		w.retain(fmt.Sprintf("a/%04d", i), "x")
	}
	c := w.connect("d", Options{})
	c.sub(1, 1, "a/#")
	c.step()
	seen := len(c.owed)
	c.leave("gone")
	again := w.connect("d", Options{})
	for again.step() || len(again.owed) > 0 {
		for len(again.owed) > 0 {
			again.ack(0)
		}
	}
	if n := len(again.log) - 1; n != all {
		t.Errorf("%d came, and %d before, want %d", n, seen, all)
	}
}

// A packet's filters are granted as far as they fit.
func TestManyFilters(t *testing.T) {
	w := newWorld(t, Config{MaxSubscriptions: 500, MaxFilters: 400})
	c := w.connect("d", Options{})
	subs := func(from, n int) (all []topic.Subscription) {
		for i := range n {
			all = append(all, topic.Subscription{Filter: fmt.Sprint("f/", from+i)})
		}
		return all
	}
	granted := func(all []topic.Subscription) (n int, refusals map[string]int) {
		results, refusals := make([]wire.Error, len(all)), make(map[string]int)
		c.link.SubscribeEach(all, results)
		for _, r := range results {
			if r.Code == "" {
				n++
			} else {
				refusals[r.Code]++
			}
		}
		return n, refusals
	}
	for _, test := range []struct{ from, n, granted, tooManyFilters, tooMany int }{
		{0, 450, 400, 50, 0}, {300, 300, 200, 0, 100}, {0, 400, 400, 0, 0},
	} {
		n, refusals := granted(subs(test.from, test.n))
		if n != test.granted || refusals[CodeTooManyFilters] != test.tooManyFilters || refusals[CodeTooManySubscriptions] != test.tooMany {
			t.Errorf("%+v: granted %d, refused %v", test, n, refusals)
		}
	}
	expect(t, "routes", w.router.Stats().Subscriptions, 500)
	filters, existed := []string{"none", "f/1", "f/1"}, make([]bool, 3)
	c.link.UnsubscribeEach(filters, existed)
	if !slices.Equal(existed, []bool{false, true, false}) {
		t.Errorf("existed %v", existed)
	}
	expect(t, "routes", w.router.Stats().Subscriptions, 499)
	expect(t, "subscriptions", len(w.info("d").Subscriptions), 499)
}
