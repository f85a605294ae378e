package format

import (
	"fmt"
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// protoEncoder writes one payload. It uses the slots of the tree that it writes.
type protoEncoder struct {
	tree        *Tree
	start       int // where the result begins
	dropUnknown bool
}

// message appends the fields in the schema's order. First it finds the member for each.
func (e *protoEncoder) message(dst []byte, m *protoMessage, v Value) (_ []byte, err error) {
	switch m.special {
	case protoTimestamp, protoDuration:
		return appendProtoTime(dst, m, v)
	case protoWrapper, protoStruct, protoListValue:
		return e.field(dst, &m.fields[0], v)
	case protoValue:
		return e.value(dst, m, v)
	}
	if v.Kind() != Map {
		return dst, wants("a map", v)
	}
	slots, err := e.tree.slotsFor(v, len(m.fields), e.dropUnknown, m.field)
	oneofs := uint64(0)
	for i := 0; i < len(m.fields) && err == nil; i++ {
		f := &m.fields[i]
		at := e.tree.slots[slots+i]
		switch before := len(dst); {
		case at != 0:
			if dst, err = e.field(dst, f, Value{e.tree, at}); err == nil && len(dst) > before {
				if oneofs&f.oneof != 0 {
					err = errOneof
				}
				oneofs |= f.oneof
			}
		case f.required:
			err = errMissing
		}
		if err != nil {
			err = inField(f.name, err)
		}
	}
	e.tree.slots = e.tree.slots[:slots]
	return dst, err
}

// field returns the index of the field of that name, which is perhaps the one at guess.
func (m *protoMessage) field(name string, guess int) (int, bool) {
	if guess < len(m.fields) && m.fields[guess].name == name {
		return guess, true
	}
	i, ok := m.byName[name]
	return i, ok
}

// field appends a field. Null is a field that is not there, unless its type has a null.
func (e *protoEncoder) field(dst []byte, f *protoField, v Value) ([]byte, error) {
	switch null := v.Kind() == Null; {
	case null && (f.message == nil || f.message.special != protoValue || f.list):
		if f.required {
			return dst, errMissing
		}
		return dst, nil
	case f.key != nil:
		return e.entries(dst, f, v)
	case f.list:
		return e.elements(dst, f, v)
	}
	before := len(dst)
	dst = protowire.AppendTag(dst, f.number, f.wire())
	content := len(dst)
	dst, err := e.single(dst, f, v)
	if !f.presence && isZeroValue(dst[content:]) {
		dst = dst[:before]
	}
	return dst, err
}

// isZeroValue reports whether a value on the wire is 0, false or empty.
func isZeroValue(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

func (e *protoEncoder) elements(dst []byte, f *protoField, v Value) (_ []byte, err error) {
	if v.Kind() != List {
		return dst, wants("a list", v)
	}
	at, i := 0, 0
	packed := f.packed && v.Len() > 0
	if packed {
		dst = protowire.AppendTag(dst, f.number, protowire.BytesType)
		dst, at = openLength(dst)
	}
	for element := range v.Elements() {
		if !f.packed {
			dst = protowire.AppendTag(dst, f.number, f.wire())
		}
		if dst, err = e.single(dst, f, element); err != nil {
			return dst, inElement(i, err)
		}
		i++
	}
	if packed {
		dst = closeLength(dst, at)
	}
	return dst, nil
}

func (e *protoEncoder) entries(dst []byte, f *protoField, v Value) (_ []byte, err error) {
	if v.Kind() != Map {
		return dst, wants("a map", v)
	}
	key := Tree{nodes: make([]node, 1)}
	for name, value := range v.Fields() {
		at := 0
		dst, at = openLength(protowire.AppendTag(dst, f.number, protowire.BytesType))
		key.nodes[0] = node{kind: Text, text: name}
		dst = protowire.AppendTag(dst, f.key.number, f.key.wire())
		if dst, err = e.single(dst, f.key, key.Root()); err == nil {
			dst = protowire.AppendTag(dst, f.value.number, f.value.wire())
			dst, err = e.single(dst, f.value, value)
		}
		if err != nil {
			return dst, inField(name, err)
		}
		dst = closeLength(dst, at)
	}
	return dst, nil
}

// openLength reserves a byte for the length of what follows, and returns where it is.
func openLength(dst []byte) ([]byte, int) { return append(dst, 0), len(dst) }

// closeLength sets the length of what is behind the byte at a place. What is longer than 127 bytes moves.
func closeLength(dst []byte, at int) []byte {
	n := len(dst) - at - 1
	if n < 0x80 {
		dst[at] = byte(n)
		return dst
	}
	return removeByte(insertVarint(dst, at+1, uint64(n)), at)
}

func removeByte(dst []byte, at int) []byte {
	copy(dst[at:], dst[at+1:])
	return dst[:len(dst)-1]
}

// single appends one value of a field, without its tag.
func (e *protoEncoder) single(dst []byte, f *protoField, v Value) (_ []byte, err error) {
	if len(dst)-e.start > maxOutput {
		return dst, errOutput
	}
	switch f.kind {
	case protoreflect.MessageKind:
		dst, at := openLength(dst)
		if dst, err = e.message(dst, f.message, v); err != nil {
			return dst, err
		}
		return closeLength(dst, at), nil
	case protoreflect.GroupKind:
		dst, err = e.message(dst, f.message, v)
		return protowire.AppendTag(dst, f.number, protowire.EndGroupType), err
	case protoreflect.StringKind:
		s, err := toText(v)
		return protowire.AppendString(dst, s), err
	case protoreflect.BytesKind:
		dst, at := openLength(dst)
		if dst, err = appendBytes(dst, v); err != nil {
			return dst, err
		}
		return closeLength(dst, at), nil
	case protoreflect.EnumKind:
		return appendProtoEnum(dst, f.enum, v)
	}
	return appendProtoNumber(dst, f.kind, v)
}

func appendProtoEnum(dst []byte, enum *protoEnum, v Value) ([]byte, error) {
	if n, ok := enum.numbers[v.Text()]; ok && v.Kind() == Text {
		return protowire.AppendVarint(dst, uint64(int64(n))), nil
	}
	n, err := toInt(v, 32)
	if err != nil {
		return dst, wants("a name or number of the enum", v)
	}
	return protowire.AppendVarint(dst, uint64(n)), nil
}

func appendProtoNumber(dst []byte, kind protoreflect.Kind, v Value) ([]byte, error) {
	switch kind {
	case protoreflect.BoolKind:
		b, err := toBool(v)
		return protowire.AppendVarint(dst, protowire.EncodeBool(b)), err
	case protoreflect.Int32Kind:
		i, err := toInt(v, 32)
		return protowire.AppendVarint(dst, uint64(i)), err
	case protoreflect.Int64Kind:
		i, err := toInt(v, 64)
		return protowire.AppendVarint(dst, uint64(i)), err
	case protoreflect.Sint32Kind:
		i, err := toInt(v, 32)
		return protowire.AppendVarint(dst, protowire.EncodeZigZag(i)), err
	case protoreflect.Sint64Kind:
		i, err := toInt(v, 64)
		return protowire.AppendVarint(dst, protowire.EncodeZigZag(i)), err
	case protoreflect.Uint32Kind:
		u, err := toUint(v, 32)
		return protowire.AppendVarint(dst, u), err
	case protoreflect.Uint64Kind:
		u, err := toUint(v, 64)
		return protowire.AppendVarint(dst, u), err
	case protoreflect.Sfixed32Kind:
		i, err := toInt(v, 32)
		return protowire.AppendFixed32(dst, uint32(i)), err
	case protoreflect.Fixed32Kind:
		u, err := toUint(v, 32)
		return protowire.AppendFixed32(dst, uint32(u)), err
	case protoreflect.Sfixed64Kind:
		i, err := toInt(v, 64)
		return protowire.AppendFixed64(dst, uint64(i)), err
	case protoreflect.Fixed64Kind:
		u, err := toUint(v, 64)
		return protowire.AppendFixed64(dst, u), err
	case protoreflect.FloatKind:
		f, err := toFloat(v, 32)
		return protowire.AppendFixed32(dst, math.Float32bits(float32(f))), err
	default:
		f, err := toFloat(v, 64)
		return protowire.AppendFixed64(dst, math.Float64bits(f)), err
	}
}

// appendProtoTime appends the fields of a Timestamp or a Duration.
func appendProtoTime(dst []byte, m *protoMessage, v Value) ([]byte, error) {
	at, _, ok := timeOf(v.Text())
	example := timeExample[false]
	if m.special == protoDuration {
		at, ok = durationOf(v.Text())
		example = "a duration such as 1.5s"
	}
	if !ok {
		return dst, wants(example, v)
	}
	if at.seconds != 0 {
		dst = protowire.AppendVarint(protowire.AppendTag(dst, 1, protowire.VarintType), uint64(at.seconds))
	}
	if at.nanos != 0 {
		dst = protowire.AppendVarint(protowire.AppendTag(dst, 2, protowire.VarintType), uint64(at.nanos))
	}
	return dst, nil
}

// durationOf reads a duration as protobuf's JSON mapping has it.
func durationOf(text string) (d instant, ok bool) {
	text, ok = strings.CutSuffix(text, "s")
	text, negative := strings.CutPrefix(text, "-")
	whole, fraction, point := strings.Cut(text, ".")
	if !ok || whole == "" || len(whole) > 12 || point && fraction == "" || len(fraction) > 9 {
		return d, false
	}
	seconds, ok1 := digits(whole, maxDuration)
	nanos, ok2 := digits((fraction + "000000000")[:9], 999_999_999)
	d = instant{int64(seconds), int64(nanos)}
	if negative {
		d = instant{-d.seconds, -d.nanos}
	}
	return d, ok1 && ok2
}

// value appends the field of a google.protobuf.Value that v fits.
func (e *protoEncoder) value(dst []byte, m *protoMessage, v Value) ([]byte, error) {
	name := ""
	switch v.Kind() {
	case Null:
		return append(dst, 1<<3, 0), nil // null_value = 1, NULL_VALUE = 0
	case Bool:
		name = "bool_value"
	case Int, Uint, Float:
		name = "number_value"
	case Text:
		name = "string_value"
	case List:
		name = "list_value"
	case Map:
		name = "struct_value"
	default:
		return dst, fmt.Errorf("a google.protobuf.Value does not hold %v", v.Kind())
	}
	return e.field(dst, &m.fields[m.byName[name]], v)
}
