package format

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"unsafe"
)

func TestSet(t *testing.T) {
	other := decoded(t, jsonFormat{}, `{"x":[1,{"y":"z"}]}`)
	for _, c := range []struct {
		before, path string
		x            any
		want         string
	}{
		{`null`, "a.b", 1, `{"a":{"b":1}}`},
		{`{"a":1}`, "a", nil, `{"a":null}`},
		{`{"a":{"b":[1,2]},"c":3}`, "a.b", "x", `{"a":{"b":"x"},"c":3}`},
		{`{"a":1,"b":2}`, "c", uint64(math.MaxUint64), `{"a":1,"b":2,"c":18446744073709551615}`},
		{`{"a":1}`, "", map[string]any{"z": []any{true, 1.5, []byte{1}}, "b": int8(-1)}, `{"b":-1,"z":[true,1.5,"AQ=="]}`},
		{`{"a":1}`, "b", float32(0.1), `{"a":1,"b":0.1}`},
		{`{"a":1}`, "b", other.Root(), `{"a":1,"b":{"x":[1,{"y":"z"}]}}`},
		{`{"a":1}`, "a.b", 1, `!field a: want a map, not integer`},
		{`[1]`, "a", 1, `!want a map, not list`},
		{`{}`, "a", struct{}{}, `!field a: a value cannot be a struct {}`},
		{`{}`, "a", "\xff", `!field a: it is not UTF-8`},
		{`{}`, "a", map[string]any{"\xff": 1}, `!field a: it is not UTF-8`},
		{`{}`, strings.Repeat("a.", 70) + "a", 1, `!field ` + strings.Repeat("a.", 64) + `a: too deep`},
	} {
		tree := decoded(t, jsonFormat{}, c.before)
		path := strings.Split(c.path, ".")
		if c.path == "" {
			path = nil
		}
		err := tree.Set(path, c.x)
		switch {
		case c.want[0] == '!':
			if err == nil || !strings.HasPrefix(err.Error(), c.want[1:]) {
				t.Errorf("set %s of %s: %v, want %s", c.path, c.before, err, c.want[1:])
			}
		case err != nil || asJSON(t, tree.Root()) != c.want:
			t.Errorf("set %s of %s: %s, %v, want %s", c.path, c.before, asJSON(t, tree.Root()), err, c.want)
		}
	}
}

func TestDrop(t *testing.T) {
	for _, c := range []struct{ before, path, want string }{
		{`{"a":1,"b":2,"c":3}`, "a", `{"b":2,"c":3}`},
		{`{"a":1,"b":2,"c":3}`, "b", `{"a":1,"c":3}`},
		{`{"a":1,"b":2,"c":3}`, "c", `{"a":1,"b":2}`},
		{`{"a":{"b":1}}`, "a.b", `{"a":{}}`},
		{`{"a":1}`, "x", `{"a":1}`},
		{`{"a":1}`, "a.b.c", `{"a":1}`},
		{`[1]`, "a", `[1]`},
		{`[1]`, "", `null`},
	} {
		tree := decoded(t, jsonFormat{}, c.before)
		path := strings.Split(c.path, ".")
		if c.path == "" {
			path = nil
		}
		tree.Drop(path)
		if got := asJSON(t, tree.Root()); got != c.want {
			t.Errorf("drop %s of %s: %s, want %s", c.path, c.before, got, c.want)
		}
		if len(path) == 1 && tree.Root().Kind() == Map { // what is chained can be added to
			if err := tree.Set([]string{"new"}, 1); err != nil || !strings.HasSuffix(asJSON(t, tree.Root()), `"new":1}`) {
				t.Errorf("drop %s of %s, then set: %s, %v", c.path, c.before, asJSON(t, tree.Root()), err)
			}
		}
	}
}

func TestValue(t *testing.T) {
	v := decoded(t, jsonFormat{}, `{"a":[1,-1,1.0,1.5,18446744073709551615,true,"t",null]}`).Root()
	list, ok := v.Field("a")
	if !ok || list.Len() != 8 || list.Kind() != List || list.At(8).Kind() != Null || list.At(-1).Kind() != Null {
		t.Fatal("no list")
	}
	if _, ok := list.Field("a"); ok {
		t.Error("a list has a member")
	}
	type conversions struct {
		i   int64
		iOK bool
		u   uint64
		uOK bool
		f   float64
		fOK bool
	}
	for i, want := range []conversions{
		{1, true, 1, true, 1, true}, {-1, true, math.MaxUint64, false, -1, true}, {1, true, 1, true, 1, true}, {0, false, 0, false, 1.5, true},
		{0, false, math.MaxUint64, true, 1 << 64, true}, {}, {}, {},
	} {
		var got conversions
		e := list.At(i)
		got.i, got.iOK = e.Int()
		got.u, got.uOK = e.Uint()
		got.f, got.fOK = e.Float()
		if got != want {
			t.Errorf("%s: %+v, want %+v", asJSON(t, e), got, want)
		}
	}
	want := map[string]any{"a": []any{int64(1), int64(-1), 1.0, 1.5, uint64(math.MaxUint64), true, "t", nil}}
	if got := v.Any(); !reflect.DeepEqual(got, want) {
		t.Errorf("%#v", got)
	}
	if list.At(5).Bool() != true || list.At(6).Text() != "t" || list.At(6).Bytes() != nil || (Value{}).Kind() != Null || (Value{}).Len() != 0 {
		t.Error("values are not what they are")
	}
}

// What was decoded does not change when the tree is used again, if it was copied.
func TestAnyIsACopy(t *testing.T) {
	data := []byte(`{"k":"text","e":"\n"}`)
	tree := new(Tree)
	if err := (jsonFormat{}).Decode(tree, data); err != nil {
		t.Fatal(err)
	}
	x := tree.Root().Any()
	copy(data, `{"q":"TEXT","f":"\t"}`)
	if err := (jsonFormat{}).Decode(tree, data); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(x, map[string]any{"k": "text", "e": "\n"}) {
		t.Errorf("%v", x)
	}
}

// The size of a node is what bounds a tree.
func TestNodeSize(t *testing.T) {
	if size := unsafe.Sizeof(node{}); size != 64 {
		t.Errorf("a node takes %d bytes", size)
	}
}

// A large payload does not leave a large tree behind.
func TestResetForgetsLargeTrees(t *testing.T) {
	tree := decoded(t, jsonFormat{}, "["+strings.Repeat(`"\n",`, 50000)+"0]")
	tree.Reset()
	if cap(tree.nodes) > 4096 || cap(tree.text) > 256<<10 {
		t.Errorf("%d nodes and %d bytes are kept", cap(tree.nodes), cap(tree.text))
	}
}
