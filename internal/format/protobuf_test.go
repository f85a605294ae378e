package format

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/longline/longline/internal/reload"
)

const descriptorSet = "testdata/telemetry.binpb" // of testdata/proto, by make generate

func protobufOf(t testing.TB, message string, dropUnknown bool) Format {
	t.Helper()
	c := Config{Protobuf: Protobuf{DescriptorSet: descriptorSet, Message: message}, DropUnknown: dropUnknown}
	f, err := Open(c, Options{Watcher: new(reload.Watcher)})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// dynamic returns messages of the descriptor set as protobuf's own package has them.
func dynamic(t testing.TB, message string) func() proto.Message {
	t.Helper()
	text, err := os.ReadFile(descriptorSet)
	if err != nil {
		t.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(text, &set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		t.Fatal(err)
	}
	d, err := files.FindDescriptorByName(protoreflect.FullName(message))
	if err != nil {
		t.Fatal(err)
	}
	return func() proto.Message { return dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor)) }
}

// What is written of JSON is what protobuf's own package makes of the same JSON.
func TestProtobufBytes(t *testing.T) {
	for _, payload := range []string{
		`{}`,
		`{"aBool":true,"int32":-1,"int64":-9223372036854775808,"uint32":4294967295,"uint64":18446744073709551615,"sint32":-2147483648,"sint64":-1,"fixed32":7,"fixed64":8,"sfixed32":-7,"sfixed64":-8,"float":0.1,"double":1e300,"string":"é","bytes":"AQI="}`,
		`{"a_bool":true,"state":"SHUT","child":{"child":{"state":7}},"maybe":0}`,
		`{"aBool":"true","int64":"9007199254740993","double":"Infinity","float":"-Infinity","bytes":"_-8"}`,
		`{"packed":[0,-1,300],"unpacked":[1,2],"strings":["a",""],"children":[{},{"int32":1}]}`,
		`{"byName":{"a":1,"":0},"byNumber":{"-3":{"int32":5}},"byBool":{"true":"OPEN","false":"SHUT"}}`,
		`{"time":"2016-01-01T00:00:00.5+08:00","duration":"-1.000000001s","wrapped":0,"wrappedString":"x"}`,
		`{"struct":{"a":[1,"b",null,true,{"c":{}}],"z":[]},"value":{"x":[null]},"list":[1,[2]]}`,
		`{"value":null}`, `{"value":1.5}`, `{"int32":null,"strings":null,"child":null}`,
		`{"string":"` + strings.Repeat("x", 200) + `","child":{"string":"` + strings.Repeat("y", 20000) + `"}}`,
	} {
		f, message := protobufOf(t, "test.All", false), dynamic(t, "test.All")
		want, got := message(), message()
		strict := strings.Replace(payload, `"aBool":"true"`, `"aBool":true`, 1) // protobuf's package takes no text for a bool
		if err := protojson.Unmarshal([]byte(strict), want); err != nil {
			t.Fatalf("%s: %v", payload, err)
		}
		out := encoded(t, f, decoded(t, jsonFormat{}, payload).Root())
		if err := proto.Unmarshal([]byte(out), got); err != nil || !proto.Equal(got, want) {
			t.Errorf("%s is written %x, which is %v (%v)", payload, out, got, err)
		}
		if size := proto.Size(want); len(out) != size {
			t.Errorf("%s is written in %d bytes, want %d", payload, len(out), size)
		}
		again(t, f, []byte(out))
	}
}

func TestProtobufText(t *testing.T) {
	old := protobufOf(t, "test.Proto2", false)
	for _, c := range []struct {
		f          Format
		data, want string
	}{
		{old, "0801", `{"id":1}`},
		{old, "08012000", `{"id":1,"number":0}`},
		{old, "0801131a016114", `{"id":1,"inner":{"text":"a"}}`},
		{protobufOf(t, "test.Air", false), "", `{}`},
		{protobufOf(t, "test.Air", false), "0a00110000000000000000", `{"timestamp":"1970-01-01T00:00:00Z","PM2.5":0}`},
		{protobufOf(t, "google.protobuf.ListValue", false), "0a0208000a022001", `[null,true]`},
		{protobufOf(t, "google.protobuf.Duration", false), "08ffffffffffffffffff01", `"-1s"`},
		{protobufOf(t, "google.protobuf.Duration", false), "1080cab5ee01", `"0.5s"`},
	} {
		raw, err := hex.DecodeString(strings.ReplaceAll(c.data, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		v := decoded(t, c.f, string(raw)).Root()
		if got := asJSON(t, v); got != c.want {
			t.Errorf("%s: got %s, want %s", c.data, got, c.want)
		}
		again(t, c.f, raw)
	}
}

func TestProtobufRefusesPayloads(t *testing.T) {
	all, old := protobufOf(t, "test.All", false), protobufOf(t, "test.Proto2", false)
	for _, c := range []struct {
		f             Format
		payload, want string
	}{
		{all, `{"int32":2147483648}`, `field int32: want an integer of 32 bits, not the integer 2147483648`},
		{all, `{"uint32":-1}`, `field uint32: want an integer of 32 bits without a sign, not the integer -1`},
		{all, `{"child":{"children":[{},{"string":1}]}}`, `field child.children[1].string: want a text, not the integer 1`},
		{all, `{"state":"LOST"}`, `field state: want a name or number of the enum, not the text "LOST"`},
		{all, `{"byNumber":{"x":{}}}`, `field byNumber.x: want an integer of 32 bits, not the text "x"`},
		{all, `{"byName":[]}`, `field byName: want a map, not a list`},
		{all, `{"strings":{}}`, `field strings: want a list, not a map`},
		{all, `{"strings":[null]}`, `field strings[0]: want a text, not null`},
		{all, `{"child":1}`, `field child: want a map, not the integer 1`},
		{all, `{"time":"yesterday"}`, `field time: want a time such as`},
		{all, `{"duration":"1m"}`, `field duration: want a duration such as 1.5s, not the text "1m"`},
		{all, `{"other":1}`, `field other: the schema does not have it`},
		{all, `{"aBool":true,"a_bool":true}`, `field a_bool: a second time`},
		{old, `{}`, `field id: missing, and the schema has no default`},
		{old, `{"id":1,"number":1,"name":"x"}`, `field name: another field of its oneof is there too`},
		{old, `{"id":null}`, `field id: missing, and the schema has no default`},
	} {
		dst, err := c.f.Encode([]byte("kept"), decoded(t, jsonFormat{}, c.payload).Root())
		if err == nil || !strings.Contains(err.Error(), c.want) || string(dst) != "kept" {
			t.Errorf("%s: %q, %v, want %s", c.payload, dst, err, c.want)
		}
	}
	f := protobufOf(t, "test.All", true)
	if got := encoded(t, f, decoded(t, jsonFormat{}, `{"x":1,"int32":2}`).Root()); got != "\x10\x02" {
		t.Errorf("without unknown fields: %x", got)
	}
}

func TestProtobufRefusesBytes(t *testing.T) {
	all := protobufOf(t, "test.All", false)
	for data, want := range map[string]string{
		"10":                                "the payload is cut off",
		"1005 1006":                         "field int32: a second time",
		"1205":                              "the payload is cut off",
		"1201 00":                           "field int32: it has another type in the payload than in the schema",
		"7201 ff":                           "field string: it is not UTF-8",
		"f83f01":                            "field number 1023: the schema does not have it",
		"8a0103 7201ff":                     "field child.string: it is not UTF-8",
		"92010180":                          "field packed: the payload is cut off",
		"b20104 0a0061":                     "the payload is cut off",
		"b20103 0a01ff":                     "field byName: it is not UTF-8",
		"d20102 1001 d20102 1001":           "field time: a second time",
		"d20106 10808080 8008":              "field time: want 0 to 999999999 nanoseconds",
		"b201050a01611001 b201050a01611001": "field byName.a: a second time",
	} {
		raw, err := hex.DecodeString(strings.ReplaceAll(data, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		tree := new(Tree)
		if err := all.Decode(tree, raw); err == nil || !strings.Contains(err.Error(), want) || tree.Root().Kind() != Null {
			t.Errorf("%s: %v, want %s", data, err, want)
		}
	}
	both := []byte("\x08\x01\x20\x00\x2a\x01x")
	if err := protobufOf(t, "test.Proto2", false).Decode(new(Tree), both); err == nil || err.Error() != "field name: another field of its oneof is there too" {
		t.Errorf("two of a oneof: %v", err)
	}
	deep := ""
	list := protobufOf(t, "google.protobuf.ListValue", false)
	for range 70 {
		deep = "\x32" + string(appendProtoLength(len(deep))) + deep
		deep = "\x0a" + string(appendProtoLength(len(deep))) + deep
	}
	if err := list.Decode(new(Tree), []byte(deep)); err == nil || !strings.Contains(err.Error(), "too deep") {
		t.Errorf("a deep one: %v", err)
	}
	many := strings.Repeat("\xaa\x01\x00", 10000) // empty children, each with all fields that have no presence
	if err := all.Decode(new(Tree), []byte(many)); err == nil || !strings.Contains(err.Error(), "too many values") {
		t.Errorf("many: %v", err)
	}
}

func appendProtoLength(n int) []byte { return insertVarint(nil, 0, uint64(n)) }

func TestProtobufConfigErrors(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]Protobuf{
		"protobuf.descriptor_set: want the name of a file":                               {Message: "x"},
		"protobuf.message: want the full name of a message":                              {DescriptorSet: "x"},
		"protobuf.descriptor_set: " + broken + ": want a descriptor set, as protoc":      {DescriptorSet: broken, Message: "x"},
		"protobuf.descriptor_set: " + descriptorSet + `: it has no message "test.None"`:  {DescriptorSet: descriptorSet, Message: "test.None"},
		"protobuf.descriptor_set: " + descriptorSet + `: it has no message "test.State"`: {DescriptorSet: descriptorSet, Message: "test.State"},
		"protobuf.descriptor_set: open /nowhere: no such file or directory":              {DescriptorSet: "/nowhere", Message: "x"},
	} {
		if _, err := Open(Config{Protobuf: c}, Options{Watcher: new(reload.Watcher)}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// FuzzProtobuf checks that what was decoded and encoded is the same message to protobuf's own package.
func FuzzProtobuf(f *testing.F) {
	format, message := protobufOf(f, "test.All", false), dynamic(f, "test.All")
	for _, payload := range []string{
		`{"aBool":true,"int32":-1,"int64":-9223372036854775808,"sint32":-5,"float":0.1,"double":1e300,"string":"é","bytes":"AQI=","state":"SHUT","maybe":0}`,
		`{"packed":[0,-1,300],"unpacked":[1,2],"strings":["a",""],"children":[{},{"int32":1}],"byName":{"a":1},"byNumber":{"-3":{"int32":5}},"byBool":{"true":"OPEN"}}`,
		`{"time":"2016-01-01T00:00:00.5+08:00","duration":"-1.000000001s","wrapped":0,"struct":{"a":[1,"b",null,true,{"c":{}}]},"value":1,"list":[1,[2]]}`,
	} {
		f.Add([]byte(encoded(f, format, decoded(f, jsonFormat{}, payload).Root())))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		again(t, format, data)
		tree := new(Tree)
		if format.Decode(tree, data) != nil {
			return
		}
		want, got := message(), message()
		if err := proto.Unmarshal(data, want); err != nil {
			t.Fatalf("%x is taken, and is not valid: %v", data, err)
		}
		out, err := format.Encode(nil, tree.Root())
		if err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(out, got); err != nil || !proto.Equal(got, want) {
			t.Fatalf("%x was written as %x: %v, want %v (%v)", data, out, got, want, err)
		}
	})
}
