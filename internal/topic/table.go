package topic

import (
	"math/bits"
	"strings"
)

// node is one level of a tree. Without children it stands for all levels that are left of
// its path: most paths of a fleet are device/{id}/... and part from all others at {id}, so
// that one node is all they need.
type node[V any] struct {
	label string    // with children: one level; without: its path from this level on
	next  *node[V]  // in the same chain of the parent's table
	kids  *table[V] // nil without children
	value V
	hash  uint32 // of the first level of label
	set   bool   // value counts: a path ends here
}

// is tells whether level is the first of the node's label.
func (n *node[V]) is(level string) bool {
	rest, ok := strings.CutPrefix(n.label, level)
	return ok && (rest == "" || rest[0] == '/')
}

// table holds the children of one node, by their level. It is a linear hash table (Litwin,
// 1980) with exactly one chain a child: each insertion splits one chain and each removal
// joins two, so that no call pays for a table of a million at once.
type table[V any] struct{ heads []*node[V] }

// slot returns the chain of hash among n > 0 chains. The first n - 2^k of the 2^k that
// were there before the last doubling are split already.
func slot(hash uint32, n int) int {
	mask := 1<<bits.Len(uint(n-1)) - 1
	if i := int(hash) & mask; i < n {
		return i
	}
	return int(hash) & (mask >> 1)
}

// find returns the child of a level, or nil. A nil table has none.
func (t *table[V]) find(hash uint32, level string) *node[V] {
	if t == nil || len(t.heads) == 0 {
		return nil
	}
	for n := t.heads[slot(hash, len(t.heads))]; n != nil; n = n.next {
		if n.hash == hash && n.is(level) {
			return n
		}
	}
	return nil
}

func (t *table[V]) add(n *node[V]) {
	last := len(t.heads)
	t.heads = append(t.heads, nil)
	if last > 0 {
		split := last &^ (1 << (bits.Len(uint(last)) - 1))
		t.rehang(t.take(split))
	}
	t.push(n)
}

func (t *table[V]) remove(n *node[V]) {
	at := &t.heads[slot(n.hash, len(t.heads))]
	for *at != n {
		at = &(*at).next
	}
	*at = n.next

	last := len(t.heads) - 1
	chain := t.take(last)
	t.heads = shrink(t.heads[:last])
	t.rehang(chain)
}

func (t *table[V]) push(n *node[V]) {
	i := slot(n.hash, len(t.heads))
	n.next, t.heads[i] = t.heads[i], n
}

func (t *table[V]) take(i int) *node[V] {
	chain := t.heads[i]
	t.heads[i] = nil
	return chain
}

func (t *table[V]) rehang(chain *node[V]) {
	for chain != nil {
		n := chain
		chain = n.next
		t.push(n)
	}
}

// shrink gives back the memory of a slice that uses less than a quarter of it.
func shrink[T any](s []T) []T {
	if cap(s) < 64 || len(s) > cap(s)/4 {
		return s
	}
	return append(make([]T, 0, 2*len(s)), s...)
}
