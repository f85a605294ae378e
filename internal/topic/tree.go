package topic

import (
	"hash/maphash"
	"strings"
)

// tree maps paths, which are levels joined by '/', to values. Labels are views of the
// paths that put got. It is not safe for concurrent use.
type tree[V any] struct {
	root table[V]

	// Static after construction.
	seed      maphash.Seed
	plus, all uint32 // hashes of "+" and "#"
}

func newTree[V any]() tree[V] {
	t := tree[V]{seed: maphash.MakeSeed()}
	t.plus, t.all = t.hash("+"), t.hash("#")
	return t
}

func (t *tree[V]) hash(level string) uint32 { return uint32(maphash.String(t.seed, level)) }

// get returns the node that has the value of path, or nil.
func (t *tree[V]) get(path string) *node[V] {
	kids := &t.root
	for {
		level, rest, more := strings.Cut(path, "/")
		n := kids.find(t.hash(level), level)
		switch {
		case n == nil:
			return nil
		case n.label == path && n.set:
			return n
		case !more:
			return nil
		}
		kids, path = n.kids, rest
	}
}

// put returns the node of path, which it adds if there is none. The caller must set the value.
func (t *tree[V]) put(path string) *node[V] {
	kids := &t.root
	for {
		level, rest, more := strings.Cut(path, "/")
		n := kids.find(t.hash(level), level)
		if n == nil {
			n = &node[V]{label: path, hash: t.hash(level)}
			kids.add(n)
			return n
		}
		if n.label == path {
			return n
		}
		t.open(n)
		if !more {
			return n
		}
		kids, path = n.kids, rest
	}
}

// open prepares n for children: it moves the levels after the first, and the value, to a child.
func (t *tree[V]) open(n *node[V]) {
	if n.kids != nil {
		return
	}
	n.kids = new(table[V])
	level, rest, more := strings.Cut(n.label, "/")
	if !more {
		return
	}
	first, _, _ := strings.Cut(rest, "/")
	n.kids.add(&node[V]{label: rest, hash: t.hash(first), value: n.value, set: true})
	n.label = level
	n.unset()
}

func (n *node[V]) unset() {
	var none V
	n.value, n.set = none, false
}

// remove removes the value of path, and the nodes that no other path needs.
func (t *tree[V]) remove(path string) { t.removeFrom(&t.root, path) }

func (t *tree[V]) removeFrom(kids *table[V], path string) {
	level, rest, more := strings.Cut(path, "/")
	n := kids.find(t.hash(level), level)
	switch {
	case n == nil:
		return
	case n.label == path:
		n.unset()
	case more:
		t.removeFrom(n.kids, rest)
	}
	if n.kids != nil && len(n.kids.heads) == 0 {
		n.kids = nil
	}
	if n.kids == nil && !n.set {
		kids.remove(n)
	}
}
