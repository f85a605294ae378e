package format

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// protoMessage is a message of a descriptor set, made so that a payload is written and read in one walk. Immutable.
type protoMessage struct {
	special  protoSpecial
	fields   []protoField
	byName   map[string]int // index of a field, by its JSON name and its name
	byNumber map[protowire.Number]int
}

// protoField is a field of a message.
type protoField struct {
	name     string // the JSON name
	number   protowire.Number
	kind     protoreflect.Kind
	list     bool
	packed   bool
	presence bool // that it is not there differs from its zero value
	required bool
	oneof    uint64        // the bit of its oneof, or 0
	key      *protoField   // of a map's entry, nil for other fields
	value    *protoField   // the same
	message  *protoMessage // of a message or group
	enum     *protoEnum
}

type protoEnum struct {
	numbers map[string]int32
	names   map[int32]string
}

// protoSpecial is a message that protobuf's JSON mapping writes in a form of its own
// (https://protobuf.dev/programming-guides/json/).
type protoSpecial uint8

const (
	protoPlain protoSpecial = iota
	protoTimestamp
	protoDuration
	protoWrapper
	protoStruct
	protoValue
	protoListValue
)

var protoSpecials = map[protoreflect.FullName]protoSpecial{
	"google.protobuf.Timestamp": protoTimestamp, "google.protobuf.Duration": protoDuration,
	"google.protobuf.Struct": protoStruct, "google.protobuf.Value": protoValue, "google.protobuf.ListValue": protoListValue,
	"google.protobuf.DoubleValue": protoWrapper, "google.protobuf.FloatValue": protoWrapper, "google.protobuf.Int64Value": protoWrapper,
	"google.protobuf.UInt64Value": protoWrapper, "google.protobuf.Int32Value": protoWrapper, "google.protobuf.UInt32Value": protoWrapper,
	"google.protobuf.BoolValue": protoWrapper, "google.protobuf.StringValue": protoWrapper, "google.protobuf.BytesValue": protoWrapper,
}

var errDescriptorSet = errors.New("want a descriptor set, as protoc --include_imports --descriptor_set_out=FILE or buf build -o FILE makes it")

// readProtobuf makes the message of that name in a descriptor set.
func readProtobuf(set []byte, message string) (*protoMessage, error) {
	var files descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(set, &files); err != nil || len(files.File) == 0 {
		return nil, errDescriptorSet
	}
	known, err := protodesc.NewFiles(&files)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDescriptorSet, err)
	}
	found, err := known.FindDescriptorByName(protoreflect.FullName(message))
	if m, ok := found.(protoreflect.MessageDescriptor); ok && err == nil {
		return protoCompiler{}.message(m), nil
	}
	return nil, fmt.Errorf("it has no message %q", message)
}

// protoCompiler has the messages that are made already: a message may contain itself.
type protoCompiler map[protoreflect.FullName]*protoMessage

func (c protoCompiler) message(d protoreflect.MessageDescriptor) *protoMessage {
	if m := c[d.FullName()]; m != nil {
		return m
	}
	m := &protoMessage{special: protoSpecials[d.FullName()], byName: make(map[string]int), byNumber: make(map[protowire.Number]int)}
	c[d.FullName()] = m
	all := d.Fields()
	for i := range all.Len() {
		f := all.Get(i)
		m.fields = append(m.fields, c.field(f))
		m.byName[string(f.Name())], m.byNumber[f.Number()] = i, i
	}
	for i := range m.fields { // JSON names come first
		m.byName[m.fields[i].name] = i
	}
	return m
}

func (c protoCompiler) field(d protoreflect.FieldDescriptor) protoField {
	f := protoField{
		name: d.JSONName(), number: d.Number(), kind: d.Kind(), list: d.IsList(), packed: d.IsPacked(),
		presence: d.HasPresence(), required: d.Cardinality() == protoreflect.Required,
	}
	if o := d.ContainingOneof(); o != nil && !o.IsSynthetic() && o.Index() < 64 {
		f.oneof = 1 << o.Index()
	}
	switch {
	case d.IsMap():
		key, value := c.field(d.MapKey()), c.field(d.MapValue())
		f.key, f.value = &key, &value
	case d.Message() != nil:
		f.message = c.message(d.Message())
	case d.Enum() != nil:
		f.enum = &protoEnum{make(map[string]int32), make(map[int32]string)}
		values := d.Enum().Values()
		for i := range values.Len() {
			v := values.Get(i)
			f.enum.numbers[string(v.Name())] = int32(v.Number())
			if _, aliased := f.enum.names[int32(v.Number())]; !aliased {
				f.enum.names[int32(v.Number())] = string(v.Name())
			}
		}
	}
	return f
}

// protoWire has the wire type of each kind.
var protoWire = [...]protowire.Type{
	protoreflect.BoolKind: protowire.VarintType, protoreflect.EnumKind: protowire.VarintType,
	protoreflect.Int32Kind: protowire.VarintType, protoreflect.Sint32Kind: protowire.VarintType, protoreflect.Uint32Kind: protowire.VarintType,
	protoreflect.Int64Kind: protowire.VarintType, protoreflect.Sint64Kind: protowire.VarintType, protoreflect.Uint64Kind: protowire.VarintType,
	protoreflect.Sfixed32Kind: protowire.Fixed32Type, protoreflect.Fixed32Kind: protowire.Fixed32Type, protoreflect.FloatKind: protowire.Fixed32Type,
	protoreflect.Sfixed64Kind: protowire.Fixed64Type, protoreflect.Fixed64Kind: protowire.Fixed64Type, protoreflect.DoubleKind: protowire.Fixed64Type,
	protoreflect.StringKind: protowire.BytesType, protoreflect.BytesKind: protowire.BytesType, protoreflect.MessageKind: protowire.BytesType,
	protoreflect.GroupKind: protowire.StartGroupType,
}

// wire returns the wire type of one value of f.
func (f *protoField) wire() protowire.Type {
	if f.key != nil {
		return protowire.BytesType
	}
	return protoWire[f.kind]
}
