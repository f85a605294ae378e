package format

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func open(t testing.TB, c Config) Format {
	t.Helper()
	f, err := Open(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// decoded returns the tree of data.
func decoded(t testing.TB, f Format, data string) *Tree {
	t.Helper()
	tree := new(Tree)
	if err := f.Decode(tree, []byte(data)); err != nil {
		t.Fatalf("%q: %v", data, err)
	}
	return tree
}

// encoded returns v in a format.
func encoded(t testing.TB, f Format, v Value) string {
	t.Helper()
	out, err := f.Encode([]byte("before"), v)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(out, []byte("before")) {
		t.Fatalf("%q: what was there is lost", out)
	}
	return string(out[len("before"):])
}

// asJSON returns v as JSON.
func asJSON(t testing.TB, v Value) string { return encoded(t, jsonFormat{}, v) }

func TestJSON(t *testing.T) {
	for in, want := range map[string]string{
		` {"a" : [1, -2.50, true ,false,null, {}, [] ] , "b":"x"} `: `{"a":[1,-2.5,true,false,null,{},[]],"b":"x"}`,
		`9007199254740993`:                    `9007199254740993`,
		`18446744073709551615`:                `18446744073709551615`,
		`-9223372036854775808`:                `-9223372036854775808`,
		`-9223372036854775809`:                `-9223372036854776000`, // the nearest float64
		`18446744073709551616`:                `18446744073709552000`,
		`-0`:                                  `-0`,
		`1e2`:                                 `100`,
		`1E400`:                               `!the number is out of range`,
		`1e-7`:                                `1e-07`,
		`"\u00e9\ud83d\ude00\n\/\u0001"`:      `"é😀\n/\u0001"`,
		`{"\u0061":"\t","b":{"\"":1}}`:        `{"a":"\u0009","b":{"\"":1}}`,
		``:                                    `!JSON at byte 0: want a value`,
		`{"a":{"b":[1,2,{"c":x}]}}`:           `!field a.b[2].c: JSON at byte 20: want a value`,
		`{"a":1,"b":{"c":1,"c":2}}`:           `!field b.c: a second time: want it once`,
		`{"a":1,"\u0061":2}`:                  `!field a: a second time: want it once`,
		"\"\xff\"":                            `!JSON at byte 1: it is not UTF-8`,
		`[1,[2,3}]`:                           `!field [1]: JSON at byte 7: want ',' or ']'`,
		`{"a.b":{"":?}}`:                      `!field "a.b"."": JSON at byte 11: want a value`,
		`1 2`:                                 `!JSON at byte 2: want the end`,
		strings.Repeat("[", 65):               `!` + strings.Repeat("[0]", 64) + `: too deep`,
		`{"` + strings.Repeat("n", 99) + `":`: `!field ` + strings.Repeat("n", 64) + `...: JSON`,
	} {
		tree, data := new(Tree), []byte(in)
		err := jsonFormat{}.Decode(tree, data)
		if want[0] == '!' {
			if err == nil || !strings.Contains(err.Error(), want[1:]) {
				t.Errorf("%s: %v, want %s", in, err, want[1:])
			}
			if tree.Root().Kind() != Null {
				t.Errorf("%s: the tree is not empty after an error", in)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", in, err)
		} else if got := asJSON(t, tree.Root()); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
		if string(data) != in {
			t.Errorf("%s: decoding changed the payload", in)
		}
	}
}

// Many members, and many values, are found or refused in a time that grows with their number.
func TestManyMembers(t *testing.T) {
	var b strings.Builder
	b.WriteByte('{')
	for i := range maxNodes - 2 {
		b.WriteString(`"` + strings.Repeat("x", i%50) + string(rune('a'+i%26)) + encodeNumber(i) + `":0,`)
	}
	f, tree := jsonFormat{}, new(Tree)
	if err := f.Decode(tree, []byte(b.String()+`"last":1}`)); err != nil || tree.Root().Len() != maxNodes-1 {
		t.Fatalf("%v: %d members", err, tree.Root().Len())
	}
	if v, ok := tree.Root().Field("last"); !ok || !reflect.DeepEqual(v.Any(), int64(1)) {
		t.Error("the last member is not found")
	}
	if err := f.Decode(tree, []byte(b.String()+`"x":0,"last":1}`)); err == nil || !strings.Contains(err.Error(), "too many values") {
		t.Errorf("too many: %v", err)
	}
	if err := f.Decode(tree, []byte(`{"last":1,`+b.String()[1:]+`"last":1}`)); err == nil || !strings.Contains(err.Error(), "too many values") {
		t.Errorf("too many: %v", err)
	}
	b.Reset()
	b.WriteByte('{')
	for i := range 1000 {
		b.WriteString(`"` + encodeNumber(i) + `":0,`)
	}
	if err := f.Decode(tree, []byte(b.String()+`"777":1}`)); err == nil || err.Error() != "field 777: a second time: want it once" {
		t.Errorf("twice: %v", err)
	}
}

func encodeNumber(i int) string { return string(appendScalar(nil, intValue(int64(i)))) }

func intValue(i int64) Value {
	t := new(Tree)
	t.Root()
	t.nodes[0].setInt(i)
	return t.Root()
}

// FuzzJSON compares with encoding/json.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,-2.5e3,"\u00e9",true,null,{"b":{}}],"c":18446744073709551615}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tree := new(Tree)
		err := jsonFormat{}.Decode(tree, data)
		if err != nil {
			return
		}
		if !json.Valid(data) || !utf8.Valid(data) {
			t.Fatalf("%q is taken", data)
		}
		var want any
		if json.Unmarshal(data, &want) != nil {
			return
		}
		out, err := jsonFormat{}.Encode(nil, tree.Root())
		if err != nil {
			t.Fatal(err)
		}
		var got any
		if err := json.Unmarshal(out, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s became %s: %v", data, out, err)
		}
	})
}
