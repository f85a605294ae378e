package format

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/longline/longline/internal/reload"
)

func avroOf(t testing.TB, schema string, dropUnknown bool) Format {
	t.Helper()
	return open(t, Config{Avro: Avro{Schema: schema}, DropUnknown: dropUnknown})
}

func record(fields string) string {
	return `{"type":"record","name":"r","fields":[` + fields + `]}`
}

// TestAvroBytes has the examples of the specification, and others made by hand from its rules.
func TestAvroBytes(t *testing.T) {
	for _, c := range []struct{ schema, payload, want, back string }{
		{`"null"`, `null`, ``, ``},
		{`"boolean"`, `true`, `01`, ``},
		{`"int"`, `-64`, `7f`, ``}, // Primitive Types: -64 is 7f, 64 is 80 01
		{`"int"`, `64`, `8001`, ``},
		{`"long"`, `9223372036854775807`, `feffffffffffffffff01`, ``},
		{`"string"`, `"foo"`, `06666f6f`, ``}, // the specification's foo
		{`"double"`, `1.5`, `000000000000f83f`, ``},
		{`"float"`, `0.1`, `cdcccc3d`, ``},
		{`"float"`, `"NaN"`, `0000c07f`, ``},
		{`"bytes"`, `"AQID"`, `06010203`, ``},
		{record(`{"name":"a","type":"long"},{"name":"b","type":"string"}`), `{"b":"foo","a":27}`, `3606666f6f`, `{"a":27,"b":"foo"}`}, // its record
		{`{"type":"enum","name":"Foo","symbols":["A","B","C","D"]}`, `"D"`, `06`, ``},                                                 // its enum
		{`{"type":"array","items":"long"}`, `[3,27]`, `04063600`, ``},                                                                 // its array
		{`{"type":"array","items":"long"}`, `[]`, `00`, ``},
		{`{"type":"map","values":"long"}`, `{"a":1}`, `0202610200`, ``},
		{`["null","string"]`, `null`, `00`, ``}, // its union
		{`["null","string"]`, `"a"`, `020261`, ``},
		{`{"type":"fixed","name":"f","size":2}`, `"/+8="`, `ffef`, ``},
		{`["int","string","double",{"type":"array","items":"int"}]`, `1.5`, `04000000000000f83f`, ``},
		{`["int","string","double",{"type":"array","items":"int"}]`, `[1]`, `06020200`, ``},
		{`["int","long"]`, `4294967296`, `0280808080 20`, ``},
		{`{"type":"long","logicalType":"timestamp-millis"}`, `"2016-01-01T00:00:00.0015+08:00"`, `82a0a38cbf54`, `"2015-12-31T16:00:00.001Z"`},
		{`{"type":"long","logicalType":"timestamp-millis"}`, `1451577600001`, `82a0a38cbf54`, `"2015-12-31T16:00:00.001Z"`},
		{`{"type":"long","logicalType":"timestamp-micros"}`, `"1969-12-31 23:59:59.999999"`, `01`, `"1969-12-31T23:59:59.999999Z"`},
		{`{"type":"long","logicalType":"local-timestamp-millis"}`, `"1970-01-01 00:00:01"`, `d00f`, `"1970-01-01T00:00:01"`},
		{`{"type":"int","logicalType":"date"}`, `"1970-03-01"`, `76`, ``},
		{`{"type":"int","logicalType":"date"}`, `-1`, `01`, `"1969-12-31"`},
		{`{"type":"int","logicalType":"time-millis"}`, `"00:00:01.5"`, `b817`, ``},
		{`{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}`, `-1.28`, `0280`, `"-1.28"`},
		{`{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}`, `"1.28"`, `040080`, ``},
		{`{"type":"fixed","name":"d","size":3,"logicalType":"decimal","precision":4,"scale":4}`, `-0.0001`, `ffffff`, `"-0.0001"`},
		{record(`{"name":"a","type":"int","default":7},{"name":"b","type":["null","int"]},{"name":"c","type":{"type":"array","items":"string"},"default":["x"]},{"name":"d","type":"bytes","default":"\u00ff"},{"name":"e","type":["null","int"],"default":null},{"name":"f","type":"double","default":2},{"name":"g","type":{"type":"map","values":"int"},"default":{"k":1}}`),
			`{}`, `0e000202780002ff000000000000000040 02026b0200`, `{"a":7,"b":null,"c":["x"],"d":"/w==","e":null,"f":2,"g":{"k":1}}`},
		{record(`{"name":"PM2_5","json_name":"PM2.5","type":"int"}`), `{"PM2.5":1}`, `02`, ``},
		{record(`{"name":"n","type":["null","r"]}`), `{"n":{"n":{"n":null}}}`, `020200`, ``},
		{record(`{"name":"a","type":"int"}`), `{"a":"12"}`, `18`, `{"a":12}`}, // as XML has it
	} {
		f := avroOf(t, c.schema, false)
		got := encoded(t, f, decoded(t, jsonFormat{}, c.payload).Root())
		if want := strings.ReplaceAll(c.want, " ", ""); hex.EncodeToString([]byte(got)) != want {
			t.Errorf("%s of %s: got %x, want %s", c.payload, c.schema, got, want)
			continue
		}
		if c.back == "" {
			c.back = c.payload
		}
		if back := asJSON(t, decoded(t, f, got).Root()); back != c.back {
			t.Errorf("%s of %s came back as %s, want %s", c.payload, c.schema, back, c.back)
		}
	}
}

func TestAvroRefusesPayloads(t *testing.T) {
	nested := record(`{"name":"a","type":{"type":"array","items":{"type":"record","name":"s","fields":[{"name":"b","type":"int"}]}}}`)
	for _, c := range []struct{ schema, payload, want string }{
		{`"int"`, `2147483648`, `want an integer of 32 bits, not the integer 2147483648`},
		{`"int"`, `1.5`, `want an integer of 32 bits, not the number 1.5`},
		{`"long"`, `18446744073709551615`, `want an integer of 64 bits`},
		{`"double"`, `9007199254740993`, `want a number that fits 64 bits of floating point`},
		{`"float"`, `16777217`, `want a number that fits 32 bits`},
		{`"float"`, `1e39`, `want a number that fits 32 bits`},
		{`"string"`, `1`, `want a text, not the integer 1`},
		{`"boolean"`, `"yes"`, `want true or false, not the text "yes"`},
		{`"bytes"`, `"?"`, `want bytes, or a text of base64`},
		{`["null","int"]`, `"x"`, `want an integer of 32 bits, not the text "x"`},
		{`["int","string"]`, `null`, `want a value, not null`},
		{`["int","boolean"]`, `"x"`, `want a type of the union, not the text "x"`},
		{`{"type":"enum","name":"e","symbols":["A"]}`, `"B"`, `want a symbol of the enum, not the text "B"`},
		{`{"type":"fixed","name":"f","size":2}`, `"AQ=="`, `want 2 bytes, not 1`},
		{`{"type":"long","logicalType":"timestamp-millis"}`, `"2023-02-29T00:00:00Z"`, `want a time such as 2006-01-02T15:04:05Z, not the text`},
		{`{"type":"long","logicalType":"local-timestamp-millis"}`, `"2023-02-28T00:00:00Z"`, `want a time without a zone`},
		{`{"type":"bytes","logicalType":"decimal","precision":3,"scale":2}`, `1.005`, `want a decimal of at most 3 digits, 2 of them behind the point, not the number 1.005`},
		{`{"type":"bytes","logicalType":"decimal","precision":3,"scale":2}`, `"12.34"`, `want a decimal`},
		{nested, `{"a":[{"b":1},{"b":"x"}]}`, `field a[1].b: want an integer of 32 bits, not the text "x"`},
		{nested, `{"a":[{}]}`, `field a[0].b: missing, and the schema has no default`},
		{nested, `{"a":[{"b":1,"c":2}]}`, `field a[0].c: the schema does not have it`},
		{nested, `[]`, `want a map, not a list`},
	} {
		f := avroOf(t, c.schema, false)
		dst := []byte("kept")
		dst, err := f.Encode(dst, decoded(t, jsonFormat{}, c.payload).Root())
		if err == nil || !strings.Contains(err.Error(), c.want) || string(dst) != "kept" {
			t.Errorf("%s of %s: %q, %v, want %s", c.payload, c.schema, dst, err, c.want)
		}
	}
	f := avroOf(t, nested, true)
	if got := encoded(t, f, decoded(t, jsonFormat{}, `{"x":1,"a":[{"c":2,"b":1}]}`).Root()); got != "\x02\x02\x00" {
		t.Errorf("without unknown fields: %x", got)
	}
}

func TestAvroRefusesBytes(t *testing.T) {
	for _, c := range []struct{ schema, data, want string }{
		{`"int"`, ``, `the payload is cut off`},
		{`"int"`, `8080808010`, `the number is out of range`},
		{`"long"`, `ffffffffffffffffffff01`, `the number is out of range`},
		{`"int"`, `0000`, `there is more behind the end`},
		{`"boolean"`, `02`, `want 0 or 1`},
		{`"string"`, `02ff`, `it is not UTF-8`},
		{`"string"`, `0361`, `the payload is cut off`}, // of -2 bytes
		{`"bytes"`, `feffffffffffffffff01`, `the payload is cut off`},
		{`["null","int"]`, `04`, `there is no branch of the union 2`},
		{`{"type":"enum","name":"e","symbols":["A"]}`, `02`, `there is no symbol of the enum 1`},
		{`{"type":"array","items":"null"}`, `feffffffffffffffff01`, `too many values`},
		{`{"type":"array","items":"null"}`, strings.Repeat(`808004`, 3) + `00`, `field [65535]: too many values`},
		{`{"type":"map","values":"null"}`, `040261026100`, `field a: a second time`},
		{record(`{"name":"n","type":["null","r"]}`), strings.Repeat("02", 70), `too deep`},
		{record(`{"name":"a","type":{"type":"array","items":"int"}}`), `0402`, `field a[1]: the payload is cut off`},
		{`{"type":"long","logicalType":"timestamp-millis"}`, `feffffffffffffffff01`, `the time is not in the years 0 to 9999`},
		{`{"type":"int","logicalType":"time-millis"}`, `01`, `the time of day is not within a day`},
	} {
		data, err := hex.DecodeString(c.data)
		if err != nil {
			t.Fatal(err)
		}
		tree := new(Tree)
		if err := avroOf(t, c.schema, false).Decode(tree, data); err == nil || !strings.Contains(err.Error(), c.want) || tree.Root().Kind() != Null {
			t.Errorf("%s of %s: %v, want %s", c.data, c.schema, err, c.want)
		}
	}
}

// A default that is written for each of many elements does not make a payload without bounds.
func TestAvroDefaultsAreBounded(t *testing.T) {
	f := avroOf(t, `{"type":"array","items":`+record(`{"name":"a","type":"string","default":"`+strings.Repeat("x", 1000)+`"}`)+`}`, false)
	v := decoded(t, jsonFormat{}, "["+strings.Repeat("{},", 60000)+"{}]").Root()
	if _, err := f.Encode(nil, v); err == nil || !strings.Contains(err.Error(), "larger than 16 MiB") {
		t.Errorf("%v", err)
	}
}

func TestAvroSchemaInFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "schema.avsc")
	if err := os.WriteFile(name, []byte(`"int"`), 0o600); err != nil {
		t.Fatal(err)
	}
	var w reload.Watcher
	f, err := Open(Config{Avro: Avro{SchemaFile: name}}, Options{Watcher: &w})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(`"string"`), 0o600); err != nil {
		t.Fatal(err)
	}
	w.Look()
	if got := encoded(t, f, decoded(t, jsonFormat{}, `"x"`).Root()); got != "\x02x" {
		t.Errorf("%x", got)
	}
}

func TestConfigErrors(t *testing.T) {
	reg := Registry{URL: "http://r"}
	for want, c := range map[string]Config{
		`name: want one of json, xml, protobuf, avro, cbor, not "yaml"`: {Name: "yaml"},
		`avro: the format is json: want options of this one only`:       {Name: "json", Avro: Avro{Schema: "x"}},
		`avro.schema: want a schema, a schema_file or a registry`:       {Name: "avro"},
		`avro.schema_file: want schema or schema_file, not both`:        {Avro: Avro{Schema: "x", SchemaFile: "y"}},
		`avro.schema: want an Avro schema: avro: unknown type: x`:       {Avro: Avro{Schema: "x"}},
		`avro.schema_file: open /nowhere: no such file or directory`:    {Avro: Avro{SchemaFile: "/nowhere"}},
		`avro.subject: it needs a registry`:                             {Avro: Avro{Schema: "x", Subject: "s"}},
		`avro.subject: want the name of the schema at the registry`:     {Avro: Avro{Schema: "x", Registry: reg}},
		`avro.registry.register: want a schema to register`:             {Avro: Avro{Registry: Registry{URL: "http://r", Register: true}}},
		`avro.registry.url: want a URL such as`:                         {Avro: Avro{Registry: Registry{URL: "r"}}},
		`avro.registry.user: want both user and password, or none`:      {Avro: Avro{Registry: Registry{URL: "http://r", User: "u"}}},
	} {
		if _, err := Open(c, Options{Watcher: new(reload.Watcher)}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := (Config{}).WithDefaults().Validate(); err != nil || (Config{}).WithDefaults().Given() {
		t.Error("a configuration that says nothing is not left alone")
	}
}

// FuzzAvro checks that what was decoded can be written, and that this reads the same.
func FuzzAvro(f *testing.F) {
	schema := record(`{"name":"a","type":"int"},{"name":"b","type":["null","double","string",{"type":"array","items":"r"},{"type":"map","values":"bytes"}]},{"name":"c","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":300,"scale":3}},{"name":"e","type":{"type":"enum","name":"e","symbols":["A","B"]}},{"name":"f","type":{"type":"fixed","name":"f","size":2}},{"name":"g","type":"float"}`)
	format := avroOf(f, schema, false)
	for _, payload := range []string{`{"a":1,"b":[{"a":2,"c":0,"d":"1.5","e":"B","f":"AAA=","g":1.5}],"c":"2016-01-01T00:00:00Z","d":0,"e":"A","f":"AAA=","g":"NaN"}`} {
		f.Add([]byte(encoded(f, format, decoded(f, jsonFormat{}, payload).Root())))
	}
	f.Fuzz(func(t *testing.T, data []byte) { again(t, format, data) })
}

// again decodes data and checks that Encode makes a payload that reads the same.
func again(t *testing.T, f Format, data []byte) {
	t.Helper()
	first, second := new(Tree), new(Tree)
	if f.Decode(first, data) != nil {
		return
	}
	out, err := f.Encode(nil, first.Root())
	if err != nil {
		t.Fatalf("%x was read as %s, and cannot be written: %v", data, asJSON(t, first.Root()), err)
	}
	if err := f.Decode(second, out); err != nil {
		t.Fatalf("%x was written as %x, which cannot be read: %v", data, out, err)
	}
	if a, b := asJSON(t, first.Root()), asJSON(t, second.Root()); !sameJSON(a, b) {
		t.Fatalf("%x was read as %s, then as %s", data, a, b)
	}
}

// sameJSON reports whether two texts are the same JSON but for the order of members.
func sameJSON(a, b string) bool {
	var x, y any
	one, two := json.NewDecoder(strings.NewReader(a)), json.NewDecoder(strings.NewReader(b))
	one.UseNumber()
	two.UseNumber()
	return one.Decode(&x) == nil && two.Decode(&y) == nil && reflect.DeepEqual(x, y)
}
