package format

import (
	"iter"
	"math"
	"strings"
)

// Value is one value of a Tree: valid until the tree is reset, decoded into, or this value is changed by Set or Drop.
// The zero Value is null.
type Value struct {
	tree  *Tree
	index int32
}

var nothing node

func (v Value) node() *node {
	if v.tree == nil {
		return &nothing
	}
	return &v.tree.nodes[v.index]
}

// Kind returns what v is.
func (v Value) Kind() Kind { return v.node().kind }

// Bool returns a Bool; false for other kinds.
func (v Value) Bool() bool { n := v.node(); return n.kind == Bool && n.number != 0 }

// Int returns v as an integer, and reports whether it is exactly that: an Int, or a Float without a fraction in range.
func (v Value) Int() (i int64, ok bool) { return v.node().int() }

// Uint is Int for numbers from 0 to 2^64-1.
func (v Value) Uint() (u uint64, ok bool) { return v.node().uint() }

// Float returns a number, rounded to the nearest float64, and reports whether v is one.
func (v Value) Float() (f float64, ok bool) {
	n := v.node()
	return n.float(), n.kind == Int || n.kind == Uint || n.kind == Float
}

func (n *node) int() (i int64, ok bool) {
	switch n.kind {
	case Int:
		return int64(n.number), true
	case Float:
		f := math.Float64frombits(n.number)
		if f >= -1<<63 && f < 1<<63 && f == math.Trunc(f) {
			return int64(f), true
		}
	}
	return 0, false
}

func (n *node) uint() (u uint64, ok bool) {
	switch n.kind {
	case Int:
		return n.number, int64(n.number) >= 0
	case Uint:
		return n.number, true
	case Float:
		f := math.Float64frombits(n.number)
		if f >= 0 && f < 1<<64 && f == math.Trunc(f) {
			return uint64(f), true
		}
	}
	return 0, false
}

// float returns the number of an Int, Uint or Float; 0 for others.
func (n *node) float() float64 {
	switch n.kind {
	case Int:
		return float64(int64(n.number))
	case Uint:
		return float64(n.number)
	case Float:
		return math.Float64frombits(n.number)
	}
	return 0
}

// Text returns a Text; empty for other kinds. It is borrowed, see Tree.
func (v Value) Text() string {
	if n := v.node(); n.kind == Text {
		return n.text
	}
	return ""
}

// Bytes returns Bytes, or nil for other kinds. They are borrowed, see Tree, and nobody may change them.
func (v Value) Bytes() []byte {
	if n := v.node(); n.kind == Bytes {
		return viewBytes(n.text)
	}
	return nil
}

// Len returns the number of elements or members of a List or Map; 0 for other kinds.
func (v Value) Len() int { return int(v.node().count) }

// At returns the element or member i, from 0; null if there is none. It takes i steps: Elements is for all of them.
func (v Value) At(i int) Value {
	n := v.node()
	if i < 0 || i >= int(n.count) {
		return Value{}
	}
	c := n.first
	for ; i > 0; i-- {
		c = v.tree.nodes[c].next
	}
	return Value{v.tree, c}
}

// Field returns the member of that name of a Map, and reports whether there is one. It compares with each name.
func (v Value) Field(name string) (Value, bool) {
	if v.Kind() == Map {
		if i := v.tree.child(v.index, name); i != 0 {
			return Value{v.tree, i}, true
		}
	}
	return Value{}, false
}

// Elements yields the elements of a List, or the members' values of a Map, in order.
func (v Value) Elements() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		for c := v.node().first; c != 0; c = v.tree.nodes[c].next {
			if !yield(Value{v.tree, c}) {
				return
			}
		}
	}
}

// Fields yields the members of a Map, in order. Names are borrowed, see Tree.
func (v Value) Fields() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if v.Kind() != Map {
			return
		}
		for e := range v.Elements() {
			if !yield(e.node().name, e) {
				return
			}
		}
	}
}

// Any returns a copy of v that shares no memory with the tree: nil, bool, int64, uint64, float64, string, []byte, []any or map[string]any.
func (v Value) Any() any {
	switch n := v.node(); n.kind {
	case Bool:
		return n.number != 0
	case Int:
		return int64(n.number)
	case Uint:
		return n.number
	case Float:
		return math.Float64frombits(n.number)
	case Text:
		return strings.Clone(n.text)
	case Bytes:
		return []byte(n.text)
	case List:
		list := make([]any, 0, n.count)
		for e := range v.Elements() {
			list = append(list, e.Any())
		}
		return list
	case Map:
		m := make(map[string]any, n.count)
		for name, e := range v.Fields() {
			m[strings.Clone(name)] = e.Any()
		}
		return m
	}
	return nil
}
