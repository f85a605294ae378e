package topic

import (
	"math/bits"
	"strings"
)

// node is one level of a tree. A node without children holds all remaining levels of
// its path: most paths of a fleet are device/{id}/..., unique from {id} on, so
// one node is all that they need.
type node[V any] struct {
	label string    // with children: one level; without: the path from this level on
	next  *node[V]  // in the same chain of the parent's table
	kids  *table[V] // nil without children
	value V
	hash  uint32 // of the first level of label
	set   bool   // value is valid: a path ends here
}

// is reports whether level is the first level of the node's label.
func (n *node[V]) is(level string) bool {
	rest, ok := strings.CutPrefix(n.label, level)
	return ok && (rest == "" || rest[0] == '/')
}

// table holds the children of one node, by their level. It is a linear hash table (Litwin,
// 1980) with exactly one chain per child: each insertion splits one chain and each removal
// joins two, so that no call has to rehash a table of a million.
type table[V any] struct{ heads []*node[V] }

// slot returns the chain for hash among n > 0 chains. Of the 2^k chains before
// the last doubling, the first n - 2^k are already split.
func slot(hash uint32, n int) int {
	mask := 1<<bits.Len(uint(n-1)) - 1
	if i := int(hash) & mask; i < n {
		return i
	}
	return int(hash) & (mask >> 1)
}

// find returns the child with that level, or nil. A nil table has none.
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

// shrink copies a slice that uses less than a quarter of its memory, to free the rest.
func shrink[T any](s []T) []T {
	if cap(s) < 64 || len(s) > cap(s)/4 {
		return s
	}
	return append(make([]T, 0, 2*len(s)), s...)
}
