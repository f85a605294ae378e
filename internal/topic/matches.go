package topic

import "strings"

// fewNodes is how many matching filters fit on the stack.
const fewNodes = 16

// nodes is a list that stays on the stack while it is short.
type nodes[V any] struct {
	n    int
	few  [fewNodes]*node[V]
	more []*node[V]
}

func (l *nodes[V]) add(n *node[V]) {
	if l.n < fewNodes {
		l.few[l.n] = n
	} else {
		l.more = append(l.more, n)
	}
	l.n++
}

func (l *nodes[V]) at(i int) *node[V] {
	if i < fewNodes {
		return l.few[i]
	}
	return l.more[i-fewNodes]
}

// matches adds the nodes of t, a tree of filters, that match name to found.
func (t *tree[V]) matches(name string, found *nodes[V]) {
	t.matchesIn(&t.root, name, !reserved(name), found)
}

// matchesIn visits at most the children '+', '#' and the first level of name, so the cost is bounded
// by the number of filters that match a beginning of the name.
func (t *tree[V]) matchesIn(kids *table[V], name string, wild bool, found *nodes[V]) {
	level, _, _ := strings.Cut(name, "/")
	t.matchesAt(kids.find(t.hash(level), level), name, found)
	if !wild {
		return
	}
	t.matchesAt(kids.find(t.plus, "+"), name, found)
	if all := kids.find(t.all, "#"); all != nil {
		found.add(all)
	}
}

// matchesAt continues at n, whose level matches the first level of name.
func (t *tree[V]) matchesAt(n *node[V], name string, found *nodes[V]) {
	if n == nil {
		return
	}
	if n.kids == nil {
		if matchLevels(n.label, name) {
			found.add(n)
		}
		return
	}
	if _, rest, more := strings.Cut(name, "/"); more {
		t.matchesIn(n.kids, rest, true, found)
		return
	}
	if n.set {
		found.add(n)
	}
	if all := n.kids.find(t.all, "#"); all != nil { // §4.7.1.2: '#' includes the parent
		found.add(all)
	}
}
