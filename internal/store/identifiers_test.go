package store

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// The set holds what a map would, in whatever order identifiers come and go.
func TestIdentifiers(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	var set Identifiers
	want := map[uint16]bool{}
	for i := range 100_000 {
		id := uint16(random.IntN(1 << (6 + i%11)))
		if random.IntN(2) == 0 {
			set.Add(id)
			want[id] = true
		} else if got := set.Remove(id); got != want[id] {
			t.Fatalf("Remove(%d) = %t", id, got)
		} else {
			delete(want, id)
		}
		if set.Has(id) != want[id] {
			t.Fatalf("Has(%d) = %t", id, set.Has(id))
		}
		if i%1000 == 0 && (set.Len() != len(want) || !slices.Equal(slices.Collect(set.All()), slices.Sorted(maps.Keys(want)))) {
			t.Fatalf("%d identifiers, want %d", set.Len(), len(want))
		}
	}
	for id := range want {
		set.Remove(id)
	}
	if set.Len() != 0 || set.Bytes() != 0 || set.pages != nil {
		t.Errorf("an empty set has %d identifiers in %d bytes", set.Len(), set.Bytes())
	}
}

// No set of identifiers is large, and those in a row take next to nothing.
func TestIdentifiersAreSmall(t *testing.T) {
	var row, sparse, all Identifiers
	for id := uint16(1); id != 0; id++ {
		all.Add(id)
		if id <= 64 {
			row.Add(id)
		}
		if id%64 == 0 {
			sparse.Add(id)
		}
	}
	if row.Bytes() != 32 || sparse.Bytes() > 16<<10 || all.Bytes() != 16<<10 || all.Len() != 1<<16-1 {
		t.Errorf("a row takes %d bytes, a sparse set %d, all %d", row.Bytes(), sparse.Bytes(), all.Bytes())
	}
}
