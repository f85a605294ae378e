package store

import (
	"cmp"
	"iter"
	"math/bits"
	"slices"
)

// Identifiers is a set of packet identifiers; the zero value is empty, and so is nil. Devices mostly take their identifiers in a row, and 64 in a
// row take 16 bytes. All 65,535 take 16 KiB, and no set takes more.
type Identifiers struct {
	pages []page // in ascending order; none is empty
}

// page has the identifiers from 64*at on, one per bit.
type page struct {
	bits uint64
	at   uint16
}

func (x *Identifiers) find(id uint16) (i int, there bool) {
	if x == nil {
		return 0, false
	}
	return slices.BinarySearchFunc(x.pages, id/64, func(p page, at uint16) int { return cmp.Compare(p.at, at) })
}

// Has reports whether id is in the set.
func (x *Identifiers) Has(id uint16) bool {
	i, there := x.find(id)
	return there && x.pages[i].bits&(1<<(id%64)) != 0
}

// Add adds id.
func (x *Identifiers) Add(id uint16) {
	i, there := x.find(id)
	if !there {
		x.pages = slices.Insert(x.pages, i, page{at: id / 64})
	}
	x.pages[i].bits |= 1 << (id % 64)
}

// Remove removes id, and reports whether it was in the set.
func (x *Identifiers) Remove(id uint16) bool {
	if !x.Has(id) {
		return false
	}
	i, _ := x.find(id)
	if x.pages[i].bits &^= 1 << (id % 64); x.pages[i].bits == 0 {
		x.pages = slices.Delete(x.pages, i, i+1)
	}
	if len(x.pages) == 0 && cap(x.pages) > fewEntries {
		x.pages = nil
	}
	return true
}

// Len returns how many identifiers are in the set.
func (x *Identifiers) Len() (n int) {
	if x == nil {
		return 0
	}
	for _, p := range x.pages {
		n += bits.OnesCount64(p.bits)
	}
	return n
}

// Bytes returns about how much memory the set takes.
func (x *Identifiers) Bytes() int { return 16 * len(x.pages) }

// All yields the identifiers in ascending order.
func (x *Identifiers) All() iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		for _, p := range x.pages {
			for left := p.bits; left != 0; left &= left - 1 {
				if !yield(64*p.at + uint16(bits.TrailingZeros64(left))) {
					return
				}
			}
		}
	}
}
