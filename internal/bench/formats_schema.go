package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/longline/longline/internal/format"
	"github.com/longline/longline/internal/reload"
)

// column is a member of a recording's payloads, and what its values are.
type column struct {
	name    string
	whole   bool // there are integers
	real    bool // there are other numbers
	texts   bool // there are texts that no number is missing by
	times   bool // all of these are times
	missing bool // not all payloads have a value
	count   int
}

// absent are texts by which recordings say that there is no value.
var absent = []string{"", "NA", "NaN", "null", "-"}

// columns are those of a recording, in the order in which they appear.
type columns []*column

// find returns the column of that name, which it adds if there is none.
func (all *columns) find(name string) *column {
	for _, c := range *all {
		if c.name == name {
			return c
		}
	}
	c := &column{name: strings.Clone(name), times: true}
	*all = append(*all, c)
	return c
}

// meet notes what the values of a payload are.
func (all *columns) meet(payload format.Value) error {
	if payload.Kind() != format.Map {
		return fmt.Errorf("want rows that are maps, not a %v", payload.Kind())
	}
	for name, v := range payload.Fields() {
		c := all.find(name)
		c.count++
		switch v.Kind() {
		case format.Int:
			c.whole = true
		case format.Float, format.Uint:
			c.real = true
		case format.Null:
			c.missing = true
		case format.Text:
			if slices.Contains(absent, v.Text()) {
				c.missing = true
				continue
			}
			c.texts = true
			c.times = c.times && format.IsTime(v.Text())
		default:
			return fmt.Errorf("want texts and numbers in rows, not a %v, in %q", v.Kind(), name)
		}
	}
	return nil
}

// finish notes which columns not all of so many payloads have.
func (all columns) finish(payloads int) error {
	for _, c := range all {
		if c.texts && (c.whole || c.real) {
			return fmt.Errorf("column %q has numbers and texts", c.name)
		}
		c.missing = c.missing || c.count < payloads
	}
	return nil
}

// clear sets what is absent in a payload to null.
func (all columns) clear(payload *format.Tree) error {
	for _, c := range all {
		if v, ok := payload.Root().Field(c.name); ok && c.missing && v.Kind() == format.Text && slices.Contains(absent, v.Text()) {
			if err := payload.Set([]string{c.name}, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// avro returns a schema of a payload, and of an array of them.
func (all columns) avro() (one, many string, err error) {
	fields := []any{}
	for i, c := range all {
		var typ any = "string"
		switch {
		case c.real:
			typ = "double"
		case c.whole:
			typ = "long"
		case c.texts && c.times:
			typ = map[string]any{"type": "long", "logicalType": "timestamp-millis"}
		}
		if c.missing {
			typ = []any{"null", typ}
		}
		fields = append(fields, map[string]any{"name": fmt.Sprintf("c%d", i), "json_name": c.name, "type": typ})
	}
	row := map[string]any{"type": "record", "name": "Row", "fields": fields}
	text, err := json.Marshal(row)
	if err != nil {
		return "", "", err
	}
	list, err := json.Marshal(map[string]any{"type": "array", "items": row})
	return string(text), string(list), err
}

// protobuf returns a descriptor set with the messages bench.Row and bench.Batch, which has rows.
func (all columns) protobuf() ([]byte, error) {
	row := &descriptorpb.DescriptorProto{Name: proto.String("Row")}
	for i, c := range all {
		f := &descriptorpb.FieldDescriptorProto{
			Name: proto.String(fmt.Sprintf("c%d", i)), JsonName: proto.String(c.name), Number: proto.Int32(int32(i) + 1),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
			Proto3Optional: proto.Bool(true), OneofIndex: proto.Int32(int32(i)),
		}
		switch {
		case c.real:
			f.Type = descriptorpb.FieldDescriptorProto_TYPE_DOUBLE.Enum()
		case c.whole:
			f.Type = descriptorpb.FieldDescriptorProto_TYPE_SINT64.Enum()
		case c.texts && c.times:
			f.Type, f.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), proto.String(".google.protobuf.Timestamp")
		}
		row.Field = append(row.Field, f)
		row.OneofDecl = append(row.OneofDecl, &descriptorpb.OneofDescriptorProto{Name: proto.String(fmt.Sprintf("_c%d", i))})
	}
	batch := &descriptorpb.DescriptorProto{Name: proto.String("Batch"), Field: []*descriptorpb.FieldDescriptorProto{{
		Name: proto.String("rows"), JsonName: proto.String("rows"), Number: proto.Int32(1), Label: descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum(),
		Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), TypeName: proto.String(".bench.Row"),
	}}}
	integer := func(name string, number int32) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{Name: proto.String(name), JsonName: proto.String(name), Number: proto.Int32(number),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: descriptorpb.FieldDescriptorProto_TYPE_INT64.Enum()}
	}
	return proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		{Name: proto.String("google/protobuf/timestamp.proto"), Package: proto.String("google.protobuf"), Syntax: proto.String("proto3"),
			MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Timestamp"), Field: []*descriptorpb.FieldDescriptorProto{integer("seconds", 1), integer("nanos", 2)}}}},
		{Name: proto.String("bench.proto"), Package: proto.String("bench"), Syntax: proto.String("proto3"),
			Dependency: []string{"google/protobuf/timestamp.proto"}, MessageType: []*descriptorpb.DescriptorProto{row, batch}},
	}})
}

// layout is a format for single payloads and for batches.
type layout struct {
	name      string
	one, many format.Format
	rows      bool // a batch is a map with rows, and no list
}

// layouts opens all formats for these columns.
func (all columns) layouts() ([]layout, error) {
	one, many, err := all.avro()
	if err != nil {
		return nil, err
	}
	set, err := all.protobuf()
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "longline-formats")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	if _, err := file.Write(set); err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	message := func(name string) format.Config {
		return format.Config{Protobuf: format.Protobuf{DescriptorSet: file.Name(), Message: "bench." + name}}
	}
	var open []layout
	for _, l := range []struct {
		name      string
		one, many format.Config
		rows      bool
	}{
		{"json", format.Config{Name: "json"}, format.Config{Name: "json"}, false},
		{"xml", format.Config{XML: format.XML{Numbers: true}}, format.Config{XML: format.XML{Numbers: true}}, false},
		{"cbor", format.Config{Name: "cbor"}, format.Config{Name: "cbor"}, false},
		{"avro", format.Config{Avro: format.Avro{Schema: one}}, format.Config{Avro: format.Avro{Schema: many}}, false},
		{"protobuf", message("Row"), message("Batch"), true},
	} {
		o := format.Options{Watcher: new(reload.Watcher)}
		x := layout{name: l.name, rows: l.rows}
		if x.one, err = format.Open(l.one, o); err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		if x.many, err = format.Open(l.many, o); err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		open = append(open, x)
	}
	return open, nil
}
