//go:build servers

package redis

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/test/servers"
)

// issued has the ranges of all lives of a test.
type issued struct {
	t   *testing.T
	all []message.Range
}

// reserve reserves a range, which no life may have got before.
func (x *issued) reserve(i *IDs) message.Range {
	x.t.Helper()
	r, err := i.Reserve()
	if err != nil {
		x.t.Fatal(err)
	}
	for _, o := range x.all {
		if r.First < o.End && o.First < r.End {
			x.t.Fatalf("%v and %v have IDs in common", r, o)
		}
	}
	if r.First >= r.End {
		x.t.Fatalf("%v is empty", r)
	}
	x.all = append(x.all, r)
	return r
}

func openIDs(t *testing.T, link *Link, prefix, owner string, renumbered func()) *IDs {
	t.Helper()
	i, err := OpenIDs(t.Context(), link, prefix, owner, renumbered)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.Close)
	return i
}

func TestIDsOfAllLivesDiffer(t *testing.T) {
	if at := message.Position(time.UnixMilli(idsEpoch + 10)); at != 10*256 {
		t.Fatalf("the script's clock does not begin where the IDs' does: %d", at)
	}
	for _, w := range worlds() {
		t.Run(w.name, func(t *testing.T) {
			prefix := newPrefix()
			link := newLink(t, w.start(t), prefix)
			x, numbers := issued{t: t}, map[uint16]string{}
			last := map[uint16]uint64{}
			for life := range 3 {
				for _, name := range []string{"a", "b", "c"} {
					owner := fmt.Sprintf("%s/%d", name, life)
					i := openIDs(t, link, prefix, owner, nil)
					if other := numbers[i.Number()]; other != "" {
						t.Errorf("%s has the number of %s", owner, other)
					}
					numbers[i.Number()] = owner
					for range 3 {
						r := x.reserve(i)
						if r.First <= last[i.Number()] {
							t.Errorf("%s: %v is not above what came before", owner, r)
						}
						last[i.Number()] = r.First
					}
				}
			}
		})
	}
}

// When all numbers are taken, a life gets that of an earlier one of its name, and that one has none any more.
func TestIDsNumbersEnd(t *testing.T) {
	prefix := newPrefix()
	link := newLink(t, at(servers.Redis(t).Address()), prefix)
	x := issued{t: t}
	var first *IDs
	for n := range message.MaxNode + 1 {
		i := openIDs(t, link, prefix, fmt.Sprintf("node%d/1", n), func() {})
		if n == 7 {
			first = i
		}
		x.reserve(i)
	}
	if _, err := OpenIDs(t.Context(), link, prefix, "another/1", nil); !errors.Is(err, errNoNumber) {
		t.Errorf("one node too many: %v", err)
	}
	second := openIDs(t, link, prefix, "node7/2", nil)
	if second.Number() != first.Number() {
		t.Errorf("it has number %d, not %d", second.Number(), first.Number())
	}
	x.reserve(second)
	if r, err := first.Reserve(); !errors.Is(err, errNumberTaken) {
		t.Errorf("the earlier life still gets %v, %v", r, err)
	}
}

// While Redis is away a node goes on. When Redis comes back without what it was told last, and another life gets the number, that begins behind the IDs that were given
// out, and the earlier one gets another number.
func TestIDsOutliveLosses(t *testing.T) {
	server := servers.Redis(t)
	prefix := newPrefix()
	link := newLink(t, at(server.Address()), prefix)
	x := issued{t: t}
	forget, err := servers.RedisMark(server.Process)
	if err != nil {
		t.Fatal(err)
	}
	var renumbered atomic.Int64
	a := openIDs(t, link, prefix, "a/1", func() { renumbered.Add(1) })
	number := a.Number()
	first, err := a.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	x.all = append(x.all, message.Range{First: first.First, End: first.First + 100}) // given out
	server.Kill()
	before := first
	for range 2 {
		r, err := a.Reserve()
		if err != nil || r.First < before.End {
			t.Fatalf("without Redis: %v behind %v, %v", r, before, err)
		}
		before = r
	}
	if err := forget(); err != nil {
		t.Fatal(err)
	}
	server.Restart()
	var b *IDs
	servers.Until(t, "no connection to the Redis that was restarted", func() bool {
		b, err = OpenIDs(t.Context(), link, prefix, "a/2", nil) // wants the same number, and is faster
		return err == nil
	})
	defer b.Close()
	if b.Number() == number {
		servers.Until(t, "the loss is not seen", func() bool { return renumbered.Load() > 0 })
		if a.Number() == number {
			t.Error("both have one number")
		}
	}
	x.reserve(b)
	x.reserve(a)
	x.reserve(b)
}
