package format

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/longline/longline/internal/reload"
)

// dynamicSchema is a schema of Avro that holds every tree without bytes, but a uint64 beyond int64.
const dynamicSchema = `{"type":"record","name":"box","fields":[{"name":"v","type":["null","boolean","long","double","string",
	{"type":"array","items":"box"},{"type":"map","values":"box"}]}]}`

// random returns a random value that has at most depth levels below it. boxed wraps each value as dynamicSchema wants it.
func random(r *rand.Rand, depth int, boxed bool) (x any) {
	kinds := 7
	if depth == 0 {
		kinds = 5
	}
	switch r.IntN(kinds) {
	case 0:
		x = nil
	case 1:
		x = r.IntN(2) == 0
	case 2:
		x = int64(r.Uint64()) >> r.IntN(64)
	case 3:
		x = r.NormFloat64()
	case 4:
		x = [...]string{"", "plain", "é\U0001f600\"\\", "\n\x01<&> "}[r.IntN(4)]
	case 5:
		list := []any{}
		for range r.IntN(20) {
			list = append(list, random(r, depth-1, boxed))
		}
		x = list
	default:
		m := map[string]any{}
		for i := range r.IntN(20) {
			m["k"+strconv.Itoa(i)] = random(r, depth-1, boxed)
		}
		x = m
	}
	if boxed {
		return map[string]any{"v": x}
	}
	return x
}

// What a format holds comes back the same from it, and from any other that holds it.
func TestRoundTrips(t *testing.T) {
	value, err := Open(Config{Protobuf: Protobuf{DescriptorSet: descriptorSet, Message: "google.protobuf.Value"}}, Options{Watcher: new(reload.Watcher)})
	if err != nil {
		t.Fatal(err)
	}
	formats := []Format{jsonFormat{}, cborFormat{}, avroOf(t, dynamicSchema, false)}
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		first := new(Tree)
		if err := first.Set(nil, random(r, 3, true)); err != nil {
			t.Fatal(err)
		}
		want := asJSON(t, first.Root())
		for i, a := range formats {
			tree := decoded(t, a, encoded(t, a, first.Root()))
			if got := asJSON(t, tree.Root()); got != want {
				t.Fatalf("format %d: %s came back as %s", i, want, got)
			}
			for j, b := range formats {
				if got := asJSON(t, decoded(t, b, encoded(t, b, tree.Root())).Root()); got != want {
					t.Fatalf("format %d, then %d: %s came back as %s", i, j, want, got)
				}
			}
		}
	}
	for range 300 { // a google.protobuf.Value has numbers of 53 bits
		first := new(Tree)
		if err := first.Set(nil, random(r, 3, false)); err != nil {
			t.Fatal(err)
		}
		want := asJSON(t, first.Root())
		out, err := value.Encode(nil, first.Root())
		if err != nil {
			if !strings.Contains(err.Error(), "64 bits of floating point") {
				t.Fatalf("%s: %v", want, err)
			}
			continue
		}
		if got := asJSON(t, decoded(t, value, string(out)).Root()); !sameNumbers(got, want) {
			t.Fatalf("protobuf: %s came back as %s", want, got)
		}
	}
}

// sameNumbers is sameJSON for numbers that are written in more than one way.
func sameNumbers(a, b string) bool {
	x, y := new(Tree), new(Tree)
	if (jsonFormat{}).Decode(x, []byte(a)) != nil || (jsonFormat{}).Decode(y, []byte(b)) != nil {
		return false
	}
	return sameValue(x.Root(), y.Root())
}

func sameValue(a, b Value) bool {
	if f, ok := a.Float(); ok {
		g, ok := b.Float()
		return ok && f == g
	}
	if a.Kind() != b.Kind() || a.Len() != b.Len() || a.Text() != b.Text() || a.Bool() != b.Bool() {
		return false
	}
	for i := range a.Len() {
		if !sameValue(a.At(i), b.At(i)) || a.At(i).node().name != b.At(i).node().name {
			return false
		}
	}
	return true
}

// A row of telemetry is the same after any format, if its types are declared as they are.
func TestTelemetryThroughAllFormats(t *testing.T) {
	avro, protobuf, xml := avroOf(t, telemetrySchema, false), protobufOf(t, "test.Air", false), xmlFormat{"air", true}
	want := strings.Replace(telemetry, "2016-01-01T00:00:00+08:00", "2015-12-31T16:00:00Z", 1)
	tree := decoded(t, jsonFormat{}, telemetry)
	for range 2 {
		for i, f := range []Format{jsonFormat{}, cborFormat{}, xml, avro, protobuf} {
			tree = decoded(t, f, encoded(t, f, tree.Root()))
			if got := asJSON(t, tree.Root()); !sameJSON(strings.Replace(got, "2016-01-01T00:00:00+08:00", "2015-12-31T16:00:00Z", 1), want) {
				t.Fatalf("format %d: %s", i, got)
			}
		}
	}
}

// Once a tree and a buffer have grown, formats without a registry allocate nothing for telemetry, but for XML.
func TestAllocations(t *testing.T) {
	for name, f := range map[string]Format{
		"json": jsonFormat{}, "cbor": cborFormat{}, "avro": avroOf(t, telemetrySchema, false), "protobuf": protobufOf(t, "test.Air", false),
	} {
		data := []byte(encoded(t, f, decoded(t, jsonFormat{}, telemetry).Root()))
		tree, dst := new(Tree), make([]byte, 0, 1024)
		if n := testing.AllocsPerRun(100, func() {
			if f.Decode(tree, data) != nil {
				t.Error("not decoded")
			}
			var err error
			if dst, err = f.Encode(dst[:0], tree.Root()); err != nil {
				t.Error(err)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
