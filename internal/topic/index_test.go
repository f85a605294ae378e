package topic

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/longline/longline/internal/message"
)

func TestIndexExamples(t *testing.T) {
	for _, tt := range matches {
		alone, among := NewIndex[int](), NewIndex[int]()
		alone.Subscribe(tt.filter, 1, message.AtLeastOnce)
		for i, other := range matches {
			among.Subscribe(other.filter, 100+i, message.AtMostOnce)
		}
		among.Subscribe(tt.filter, 1, message.AtLeastOnce)
		for _, x := range []*Index[int]{alone, among} {
			if q, got := hits(t, x, tt.topic)[1]; got != tt.want || got && q != message.AtLeastOnce {
				t.Errorf("filter %q, topic %q: %v, QoS %d", tt.filter, tt.topic, got, q)
			}
		}
	}
}

// hits returns what Match finds, and fails on a subscriber that appears twice or if Wanted
// disagrees.
func hits(t *testing.T, x *Index[int], topic string) map[int]message.QoS {
	t.Helper()
	found := map[int]message.QoS{}
	for _, h := range x.Match(topic, nil) {
		if _, twice := found[h.Subscriber]; twice {
			t.Errorf("topic %q: subscriber %d comes twice", topic, h.Subscriber)
		}
		found[h.Subscriber] = h.QoS
	}
	if wanted := x.Wanted(topic); wanted != (len(found) > 0) {
		t.Errorf("topic %q: wanted is %v with %d subscribers", topic, wanted, len(found))
	}
	return found
}

func TestIndexAppends(t *testing.T) {
	x := NewIndex[int]()
	x.Subscribe("a", 1, message.AtMostOnce)
	x.Subscribe("+", 1, message.AtLeastOnce)
	before := Hit[int]{1, message.AtMostOnce}
	got := x.Match("a", []Hit[int]{before})
	if len(got) != 2 || got[0] != before || got[1] != (Hit[int]{1, message.AtLeastOnce}) {
		t.Errorf("got %v", got)
	}
}

// TestIndexManySubscribers passes the sizes at which the subscribers of one filter change their representation.
func TestIndexManySubscribers(t *testing.T) {
	x := NewIndex[int]()
	const n = 1000
	for i := range n {
		if isNew, n := x.Subscribe("fleet/+", i, message.AtMostOnce); !isNew || n != i+1 {
			t.Fatalf("subscriber %d: new is %v, and %d subscribe", i, isNew, n)
		}
		if isNew, n := x.Subscribe("fleet/+", i, message.AtLeastOnce); isNew || n != i+1 {
			t.Fatalf("subscriber %d again: new is %v, and %d subscribe", i, isNew, n)
		}
	}
	x.Subscribe("fleet/all", n, message.AtMostOnce)
	x.Subscribe("#", n, message.AtLeastOnce)
	x.Subscribe("#", 0, message.AtMostOnce)
	for i := range n {
		leaver := (i*7 + 1) % n // 7 and n have no common divisor
		if was, left := x.Unsubscribe("fleet/+", leaver); !was || left != n-1-i {
			t.Fatalf("subscriber %d: was there is %v, and %d are left", leaver, was, left)
		}
		if was, left := x.Unsubscribe("fleet/+", leaver); was || left != n-1-i {
			t.Fatalf("subscriber %d again: was there is %v, and %d are left", leaver, was, left)
		}
		found := hits(t, x, "fleet/all")
		if _, there := found[leaver]; there != (leaver == 0) {
			t.Fatalf("subscriber %d left and is found: %v", leaver, there)
		}
		next := (i*7 + 8) % n
		if _, there := found[next]; i < n-1 && !there {
			t.Fatalf("subscriber %d is lost", next)
		}
		if found[n] != message.AtLeastOnce {
			t.Fatalf("two filters of one subscriber give QoS %d", found[n])
		}
	}
	if got, want := x.Stats(), (Stats{Filters: 2, Subscriptions: 3}); got != want {
		t.Errorf("stats %v, want %v", got, want)
	}
}

// TestIndexManyFilters has more matching filters than fit on the stack, with subscribers of
// one, of some and of all of them.
func TestIndexManyFilters(t *testing.T) {
	x := NewIndex[int]()
	const n = 1 << 5
	for i := range n {
		levels := make([]string, 5)
		for k := range levels {
			levels[k] = []string{"a", "+"}[i>>k&1]
		}
		filter := strings.Join(levels, "/")
		x.Subscribe(filter, i, message.AtMostOnce)
		x.Subscribe(filter, n+i%4, message.QoS(i/4%2))
		x.Subscribe(filter, -1, message.QoS(i%2))
	}
	found := hits(t, x, "a/a/a/a/a")
	if len(found) != n+4+1 {
		t.Errorf("%d found: %v", len(found), found)
	}
	for _, s := range []int{n, n + 1, n + 2, n + 3, -1} {
		if found[s] != message.AtLeastOnce {
			t.Errorf("subscriber %d has QoS %d", s, found[s])
		}
	}
}

func TestIndexPrunes(t *testing.T) {
	x := NewIndex[int]()
	const n = 5000
	for i := range n {
		x.Subscribe(fmt.Sprintf("device/%d/down", i), i, message.AtLeastOnce)
		x.Subscribe(fmt.Sprintf("device/%d/#", i), i, message.AtMostOnce)
	}
	if got, want := x.Stats(), (Stats{2 * n, 2 * n}); got != want {
		t.Fatalf("stats %v, want %v", got, want)
	}
	for i := range n {
		if found := hits(t, x, fmt.Sprintf("device/%d/down", i)); len(found) != 1 || found[i] != message.AtLeastOnce {
			t.Fatalf("device %d: %v", i, found)
		}
	}
	for i := range n {
		all, _ := x.Unsubscribe(fmt.Sprintf("device/%d/#", i), i)
		down, _ := x.Unsubscribe(fmt.Sprintf("device/%d/down", i), i)
		if !all || !down {
			t.Fatalf("device %d was not there", i)
		}
	}
	if x.Stats() != (Stats{}) || len(x.tree.root.heads) != 0 {
		t.Errorf("left behind: %+v, %d nodes", x.Stats(), len(x.tree.root.heads))
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	x := NewIndex[int]()
	for i := range 100 {
		x.Subscribe(fmt.Sprintf("device/%d/#", i), i, message.AtMostOnce)
		x.Subscribe("fleet/all", i, message.AtMostOnce)
	}
	x.Subscribe("fleet/#", 7, message.AtLeastOnce)
	for _, filter := range []string{"a/b", "a/+", "+/b", "#"} {
		x.Subscribe(filter, len(filter), message.AtMostOnce)
	}
	dst := make([]Hit[int], 0, 200)
	for topic, want := range map[string]int{"device/42/up": 2, "fleet/all": 100, "a/b": 2, "$nobody/home": 0} {
		allocs := testing.AllocsPerRun(100, func() { dst = x.Match(topic, dst[:0]) })
		if allocs != 0 || len(dst) != want {
			t.Errorf("%s: %v allocations, %d hits", topic, allocs, len(dst))
		}
	}
}

func TestIndexConcurrent(t *testing.T) {
	x := NewIndex[int]()
	x.Subscribe("device/+/up", -1, message.AtMostOnce)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 300 {
				filter := fmt.Sprintf("device/%d/#", i%50)
				x.Subscribe(filter, g, message.AtLeastOnce)
				found := hits(t, x, fmt.Sprintf("device/%d/up", i%50))
				if _, own := found[g]; !own || len(found) < 2 {
					t.Errorf("worker %d found %v", g, found)
				}
				x.Unsubscribe(filter, g)
			}
		})
	}
	wg.Wait()
	if got, want := x.Stats(), (Stats{1, 1}); got != want {
		t.Errorf("stats %v, want %v", got, want)
	}
}

// path makes a filter or a name of up to 4 levels from two bytes.
func path(a, b byte, levels []string) string {
	bits := int(a) | int(b)<<8
	parts := make([]string, 1+bits&3)
	for i := range parts {
		parts[i] = levels[bits>>(2+3*i)&7]
	}
	return strings.Join(parts, "/")
}

var (
	filterLevels = []string{"a", "b", "ab", "", "$c", "+", "+", "#"}
	nameLevels   = []string{"a", "b", "ab", "", "$c", "a", "b", "d"}
)

// FuzzIndex compares the index with a list of filters after each of a sequence of changes. Four
// bytes are a step: the kind and subscriber, the filter, and the topic that is looked up after it.
func FuzzIndex(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 1, 1, 2, 3})
	f.Add([]byte("subscribe and leave, subscribe and leave, and again and again"))
	f.Add([]byte(strings.Repeat("\x00\xff\x17\x01\x02\xf0\x81\x03", 20)))
	f.Fuzz(func(t *testing.T, script []byte) {
		type key struct {
			filter string
			s      int
		}
		x, model := NewIndex[int](), map[key]message.QoS{}
		for ; len(script) >= 4; script = script[4:] {
			k := key{path(script[1], script[2], filterLevels), int(script[0] >> 2 & 31)}
			if ValidateFilter(k.filter, Limits{}) != nil {
				continue
			}
			_, there := model[k]
			if script[0]&2 == 0 {
				q := message.QoS(script[0] & 1)
				if isNew, _ := x.Subscribe(k.filter, k.s, q); isNew == there {
					t.Fatalf("Subscribe(%q, %d): new is wrong", k.filter, k.s)
				}
				model[k] = q
			} else {
				if was, _ := x.Unsubscribe(k.filter, k.s); was != there {
					t.Fatalf("Unsubscribe(%q, %d) is wrong", k.filter, k.s)
				}
				delete(model, k)
			}

			others := 0
			for other := range model {
				if other.filter == k.filter && other.s != k.s {
					others++
				}
			}
			if got := x.HasOther(k.filter, func(s int) bool { return s == k.s }); got != (others > 0) {
				t.Fatalf("HasOther(%q) but %d is %v with %d others", k.filter, k.s, got, others)
			}

			name := path(script[3], script[1], nameLevels)
			want, filters := map[int]message.QoS{}, map[string]bool{}
			for k, q := range model {
				filters[k.filter] = true
				if Match(k.filter, name) {
					want[k.s] = max(want[k.s], q)
				}
			}
			if got := hits(t, x, name); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("topic %q: got %v, want %v of %v", name, got, want, model)
			}
			if got := x.Stats(); got != (Stats{len(filters), len(model)}) {
				t.Fatalf("stats %v, want %d filters, %d subscriptions", got, len(filters), len(model))
			}
		}
		for k := range model {
			x.Unsubscribe(k.filter, k.s)
		}
		if x.Stats() != (Stats{}) || len(x.tree.root.heads) != 0 {
			t.Fatalf("left behind: %v, %d nodes", x.Stats(), len(x.tree.root.heads))
		}
	})
}
