package topic

import "strings"

// Map holds values by topic name and finds them by filter: a filter without wildcards
// costs one look-up a level, one with wildcards visits what its levels match. It is not
// safe for concurrent use. NewMap makes one.
type Map[V any] struct {
	tree tree[V]
	n    int
}

// NewMap returns an empty map.
func NewMap[V any]() *Map[V] { return &Map[V]{tree: newTree[V]()} }

// Len is the number of values.
func (m *Map[V]) Len() int { return m.n }

// Get returns the value of name.
func (m *Map[V]) Get(name string) (v V, ok bool) {
	if n := m.tree.get(name); n != nil {
		return n.value, true
	}
	return v, false
}

// Set gives name the value v. It copies a name that is new, and does not retain name.
func (m *Map[V]) Set(name string, v V) {
	n := m.tree.get(name)
	if n == nil {
		n = m.tree.put(strings.Clone(name))
		n.set = true
		m.n++
	}
	n.value = v
}

// Delete forgets the value of name and tells whether there was one.
func (m *Map[V]) Delete(name string) bool {
	if m.tree.get(name) == nil {
		return false
	}
	m.tree.remove(name)
	m.n--
	return true
}

// All calls yield for every value, in no order, until it returns false. It must not change
// the map.
func (m *Map[V]) All(yield func(V) bool) {
	m.tree.root.each(func(n *node[V]) bool { return n.walk(yield) })
}

// Walk is All for the values whose names match a valid filter, as Match says.
func (m *Map[V]) Walk(filter string, yield func(V) bool) {
	level, _, _ := strings.Cut(filter, "/")
	if level != "+" && level != "#" {
		m.walkIn(&m.tree.root, filter, yield)
		return
	}
	m.tree.root.each(func(n *node[V]) bool {
		return reserved(n.label) || m.walkAt(n, filter, yield)
	})
}

// walkIn goes on with those of kids that match the first level of filter.
func (m *Map[V]) walkIn(kids *table[V], filter string, yield func(V) bool) bool {
	level, _, _ := strings.Cut(filter, "/")
	if level == "+" {
		return kids.each(func(n *node[V]) bool { return m.walkAt(n, filter, yield) })
	}
	n := kids.find(m.tree.hash(level), level)
	return n == nil || m.walkAt(n, filter, yield)
}

// walkAt continues at n, whose level matches the first of filter.
func (m *Map[V]) walkAt(n *node[V], filter string, yield func(V) bool) bool {
	if n.kids == nil {
		return !matchLevels(filter, n.label) || yield(n.value)
	}
	_, rest, more := strings.Cut(filter, "/")
	switch {
	case filter == "#" || rest == "#": // §4.7.1.2: '#' includes the parent
		return n.walk(yield)
	case more:
		return m.walkIn(n.kids, rest, yield)
	}
	return !n.set || yield(n.value)
}

// walk yields the value of n and of all below it.
func (n *node[V]) walk(yield func(V) bool) bool {
	if n.set && !yield(n.value) {
		return false
	}
	return n.kids.each(func(kid *node[V]) bool { return kid.walk(yield) })
}
