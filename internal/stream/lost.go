package stream

import (
	"cmp"
	"slices"

	"github.com/longline/longline/internal/journal"
)

// ranges are places that cannot be read: ascending, neither overlapping nor adjacent.
type ranges []journal.Gap

// mostRanges bounds how many ranges are remembered. Beyond it the oldest are forgotten, and so may be counted again.
const mostRanges = 1000

// add adds the places of g and returns how many of them are new.
func (r *ranges) add(g journal.Gap) uint64 {
	fresh := uint64(g.To-g.From) - r.within(g.From, g.To)
	from, _ := slices.BinarySearchFunc(*r, g.From, func(x journal.Gap, p journal.Place) int { return cmp.Compare(x.To, p) })
	to := from
	for ; to < len(*r) && (*r)[to].From <= g.To; to++ {
		g.From, g.To = min(g.From, (*r)[to].From), max(g.To, (*r)[to].To)
	}
	*r = slices.Replace(*r, from, to, journal.Gap{From: g.From, To: g.To})
	if n := len(*r) - mostRanges; n > 0 {
		*r = slices.Delete(*r, 0, n)
	}
	return fresh
}

// within returns how many of the places from <= place < to are in r.
func (r *ranges) within(from, to journal.Place) (n uint64) {
	for _, g := range *r {
		if low, high := max(g.From, from), min(g.To, to); low < high {
			n += uint64(high - low)
		}
	}
	return n
}

// forget removes the ranges before place.
func (r *ranges) forget(place journal.Place) {
	*r = slices.DeleteFunc(*r, func(g journal.Gap) bool { return g.To <= place })
}
