package format

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of a tree, so that a small payload never becomes much memory: 64 bytes per value, about 40 bytes of text for a date or a number that
// becomes a text, and other texts no longer than the payload.
const (
	maxDepth = 64      // maps and lists around a value
	maxNodes = 1 << 16 // values; 4 MiB

	maxOutput = 16 << 20 // bytes that Encode makes of a tree
)

// Kind is what a value is.
type Kind uint8

// The kinds.
const (
	Null Kind = iota
	Bool
	Int   // a whole number that fits int64
	Uint  // a whole number beyond int64 that fits uint64
	Float // any other number; a whole number beyond 64 bits is the nearest one
	Text  // UTF-8
	Bytes
	List
	Map // members in order, each name once
)

// String returns the kind's name.
func (k Kind) String() string {
	return [...]string{"null", "bool", "integer", "integer", "number", "text", "bytes", "list", "map"}[k]
}

// Tree is the content of one payload. The zero value is empty: its root is null. It is reusable: once it has grown, Decode
// allocates nothing for the tree. Not for more than one goroutine at a time.
//
// What is decoded may be borrowed: names, texts and bytes are views of the payload, which must not change while the tree is used,
// or of memory that the tree uses again after Reset.
type Tree struct {
	nodes []node
	text  []byte  // decoded texts that are no views of the payload
	table []int32 // see repeated
	slots []int32 // see slotsFor
}

// node is one value. Children of a map or list are chained by next.
type node struct {
	kind   Kind
	single bool   // a Float that was read as a 32-bit one
	depth  uint8  // maps and lists around it
	name   string // in a map
	text   string // of Text and Bytes
	number uint64 // Bool, Int, Uint, and the bits of Float
	first  int32  // of the children, 0 if there are none: no child is the root
	last   int32
	next   int32 // sibling, or 0
	count  int32 // children
}

var (
	errNodes = errors.New("too many values: want at most 65536")
	errDepth = errors.New("too deep: want at most 64 levels")
)

// Reset empties t. Values and borrowed texts of it are no longer valid.
func (t *Tree) Reset() {
	const keepNodes, keepText = 4096, 256 << 10
	if cap(t.nodes) > keepNodes {
		t.nodes = nil
	}
	if cap(t.text) > keepText {
		t.text = nil
	}
	if cap(t.table) > keepNodes {
		t.table = nil
	}
	clear(t.nodes) // nothing borrowed stays reachable
	t.nodes, t.text = t.nodes[:0], t.text[:0]
}

// Root returns the whole payload.
func (t *Tree) Root() Value {
	if len(t.nodes) == 0 {
		t.nodes = append(t.nodes, node{})
	}
	return Value{t, 0}
}

// begin empties t and returns its root, which is null.
func (t *Tree) begin() int32 {
	t.Reset()
	t.nodes = append(t.nodes, node{})
	return 0
}

// add adds a child to a map or list: null, with a name in a map.
func (t *Tree) add(parent int32, name string) (int32, error) {
	if len(t.nodes) >= maxNodes {
		return 0, errNodes
	}
	p := &t.nodes[parent]
	if p.depth >= maxDepth {
		return 0, errDepth
	}
	i := int32(len(t.nodes))
	if p.first == 0 {
		p.first = i
	} else {
		t.nodes[p.last].next = i
	}
	p.last = i
	p.count++
	depth := p.depth + 1
	t.nodes = append(t.nodes, node{name: name, depth: depth})
	return i, nil
}

// child returns the last member of that name, or 0.
func (t *Tree) child(parent int32, name string) (found int32) {
	for i := t.nodes[parent].first; i != 0; i = t.nodes[i].next {
		if t.nodes[i].name == name {
			return i
		}
	}
	return 0
}

// onlyOnce returns an error if a map has two members of one name.
func (t *Tree) onlyOnce(parent int32) error {
	return t.repeated(parent, func(_, again int32) error { return inField(t.nodes[again].name, errTwice) })
}

var seed = maphash.MakeSeed()

// repeated calls found for each member whose name an earlier one has, with the first of that name, until it returns an error.
func (t *Tree) repeated(parent int32, found func(first, again int32) error) error {
	const few = 12
	if t.nodes[parent].count <= few {
		return t.repeatedOfFew(parent, found)
	}
	size := 1 << bits.Len32(uint32(t.nodes[parent].count)*2)
	t.table = slices.Grow(t.table[:0], size)[:size]
	clear(t.table)
	for i := t.nodes[parent].first; i != 0; i = t.nodes[i].next {
		name := t.nodes[i].name
		at := maphash.String(seed, name) & uint64(size-1)
		for t.table[at] != 0 && t.nodes[t.table[at]].name != name {
			at = (at + 1) & uint64(size-1)
		}
		if first := t.table[at]; first != 0 {
			if err := found(first, i); err != nil {
				return err
			}
			continue
		}
		t.table[at] = i
	}
	return nil
}

func (t *Tree) repeatedOfFew(parent int32, found func(first, again int32) error) error {
	for i := t.nodes[parent].first; i != 0; i = t.nodes[i].next {
		for first := t.nodes[parent].first; first != i; first = t.nodes[first].next {
			if t.nodes[first].name == t.nodes[i].name {
				if err := found(first, i); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// slotsFor finds the members of a map for the fields of a schema. They are in t.slots from at on: the member's index, or 0. Whoever calls
// it cuts t.slots back to its length from before, which is at. field returns the number of the field of a name; guess is the one behind the field of the
// member before. A member without a field is an error, unless dropUnknown.
func (t *Tree) slotsFor(v Value, fields int, dropUnknown bool, field func(name string, guess int) (int, bool)) (at int, err error) {
	at = len(t.slots)
	t.slots = slices.Grow(t.slots, fields)[:at+fields]
	clear(t.slots[at:])
	guess := 0
	for c := t.nodes[v.index].first; c != 0; c = t.nodes[c].next {
		name := t.nodes[c].name
		i, ok := field(name, guess)
		switch {
		case ok && t.slots[at+i] != 0:
			return at, inField(name, errTwice)
		case ok:
			t.slots[at+i] = c
			guess = i + 1
		case !dropUnknown:
			return at, inField(name, errUnknown)
		}
	}
	return at, nil
}

// empty makes a node null, without children.
func (t *Tree) empty(i int32) {
	n := &t.nodes[i]
	*n = node{name: n.name, depth: n.depth, next: n.next}
}

// Set makes the value at a path of map keys x: nil, a bool, an integer, a float, a string, []byte, []any, map[string]any, or a Value of
// another tree. An empty path is the root. Maps that are missing on the way are made. What is there already, but no map, is an error.
// Set keeps strings of x, and copies nothing else of it.
func (t *Tree) Set(path []string, x any) error {
	i := t.Root().index
	for at, name := range path {
		n := &t.nodes[i]
		if n.kind == Null && n.count == 0 {
			n.kind = Map
		}
		if n.kind != Map {
			return inPath(path[:at], fmt.Errorf("want a map, not %v", n.kind))
		}
		if !utf8.ValidString(name) {
			return errUTF8
		}
		next := t.child(i, name)
		if next == 0 {
			var err error
			if next, err = t.add(i, name); err != nil {
				return inPath(path[:at+1], err)
			}
		}
		i = next
	}
	t.empty(i)
	if err := t.put(i, x); err != nil {
		t.empty(i)
		return inPath(path, err)
	}
	return nil
}

// put makes a null node x.
func (t *Tree) put(i int32, x any) error {
	n := &t.nodes[i]
	switch x := x.(type) {
	case nil:
	case bool:
		n.setBool(x)
	case int:
		n.setInt(int64(x))
	case int8:
		n.setInt(int64(x))
	case int16:
		n.setInt(int64(x))
	case int32:
		n.setInt(int64(x))
	case int64:
		n.setInt(x)
	case uint:
		n.setUint(uint64(x))
	case uint8:
		n.setUint(uint64(x))
	case uint16:
		n.setUint(uint64(x))
	case uint32:
		n.setUint(uint64(x))
	case uint64:
		n.setUint(x)
	case float32:
		n.setFloat(float64(x))
		n.single = true
	case float64:
		n.setFloat(x)
	case string:
		if !utf8.ValidString(x) {
			return errUTF8
		}
		n.kind, n.text = Text, x
	case []byte:
		n.kind, n.text = Bytes, string(x)
	case []any:
		n.kind = List
		for _, e := range x {
			if err := t.putIn(i, "", e); err != nil {
				return err
			}
		}
	case map[string]any:
		n.kind = Map
		for _, name := range sortedKeys(x) {
			if err := t.putIn(i, name, x[name]); err != nil {
				return err
			}
		}
	case Value:
		return t.putValue(i, x)
	default:
		return fmt.Errorf("a value cannot be a %T", x)
	}
	return nil
}

func (t *Tree) putIn(parent int32, name string, x any) error {
	if !utf8.ValidString(name) {
		return errUTF8
	}
	i, err := t.add(parent, name)
	if err != nil {
		return err
	}
	return t.put(i, x)
}

// putValue copies a value of another tree, with its texts.
func (t *Tree) putValue(i int32, v Value) error {
	from := v.node()
	n := &t.nodes[i]
	n.kind, n.single, n.number = from.kind, from.single, from.number
	n.text = strings.Clone(from.text)
	for c := from.first; c != 0; c = v.tree.nodes[c].next {
		to, err := t.add(i, strings.Clone(v.tree.nodes[c].name))
		if err != nil {
			return err
		}
		if err := t.putValue(to, Value{v.tree, c}); err != nil {
			return err
		}
	}
	return nil
}

// Drop removes the value at a path of map keys, if it is there. An empty path makes the root null.
func (t *Tree) Drop(path []string) {
	i := t.Root().index
	if len(path) == 0 {
		t.empty(i)
		return
	}
	for _, name := range path[:len(path)-1] {
		if t.nodes[i].kind != Map {
			return
		}
		if i = t.child(i, name); i == 0 {
			return
		}
	}
	if t.nodes[i].kind == Map {
		t.unlink(i, path[len(path)-1])
	}
}

// unlink takes the member of that name out of a map.
func (t *Tree) unlink(parent int32, name string) {
	p := &t.nodes[parent]
	before := int32(0)
	for i := p.first; i != 0; i = t.nodes[i].next {
		if t.nodes[i].name != name {
			before = i
			continue
		}
		if before == 0 {
			p.first = t.nodes[i].next
		} else {
			t.nodes[before].next = t.nodes[i].next
		}
		if p.last == i {
			p.last = before
		}
		p.count--
		return
	}
}

func (n *node) setBool(b bool) {
	n.kind, n.number = Bool, 0
	if b {
		n.number = 1
	}
}

func (n *node) setInt(i int64) { n.kind, n.number = Int, uint64(i) }

func (n *node) setUint(u uint64) {
	if n.kind, n.number = Int, u; u > math.MaxInt64 {
		n.kind = Uint
	}
}

func (n *node) setFloat(f float64) { n.kind, n.number = Float, math.Float64bits(f) }

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
