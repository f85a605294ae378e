package format

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// protoDecoder reads one payload. It uses the slots of the tree that it makes.
type protoDecoder struct {
	tree        *Tree
	dropUnknown bool
}

// wireValue is one value as it is on the wire.
type wireValue struct {
	typ    protowire.Type
	number uint64
	bytes  []byte // of BytesType, and the content of a group
}

// readField reads the next field of a message.
func readField(data []byte) (number protowire.Number, v wireValue, rest []byte, err error) {
	number, typ, n := protowire.ConsumeTag(data)
	if n < 0 {
		return 0, v, nil, errCutOff
	}
	v, rest, err = readValue(number, typ, data[n:])
	return number, v, rest, err
}

// readValue reads a value of a wire type.
func readValue(number protowire.Number, typ protowire.Type, data []byte) (v wireValue, rest []byte, err error) {
	v.typ = typ
	n := 0
	switch typ {
	case protowire.VarintType:
		v.number, n = protowire.ConsumeVarint(data)
	case protowire.Fixed32Type:
		var u uint32
		u, n = protowire.ConsumeFixed32(data)
		v.number = uint64(u)
	case protowire.Fixed64Type:
		v.number, n = protowire.ConsumeFixed64(data)
	case protowire.BytesType:
		v.bytes, n = protowire.ConsumeBytes(data)
	case protowire.StartGroupType:
		v.bytes, n = protowire.ConsumeGroup(number, data)
	default:
		return v, nil, fmt.Errorf("want a wire type, not %d", typ)
	}
	if n < 0 {
		return v, nil, errCutOff
	}
	return v, data[n:], nil
}

// message makes the null node i the message in data.
func (d *protoDecoder) message(m *protoMessage, i int32, data []byte) error {
	switch m.special {
	case protoTimestamp, protoDuration:
		return d.time(m, i, data)
	case protoWrapper, protoStruct, protoListValue:
		return d.only(m, i, data)
	case protoValue:
		return d.value(m, i, data)
	}
	d.tree.nodes[i].kind = Map
	slots := len(d.tree.slots)
	d.tree.slots = slices.Grow(d.tree.slots, len(m.fields))[:slots+len(m.fields)]
	clear(d.tree.slots[slots:])
	for len(data) > 0 {
		number, v, rest, err := readField(data)
		if err != nil {
			return err
		}
		data = rest
		f, known := m.byNumber[number]
		if !known {
			err = d.unknown(number)
		} else if err = d.field(&m.fields[f], i, slots+f, v); err != nil {
			err = inField(m.fields[f].name, err)
		}
		if err != nil {
			return err
		}
	}
	err := d.complete(m, i, slots)
	d.tree.slots = d.tree.slots[:slots]
	return err
}

// unknown returns the error for a field that the schema does not have, if it is one.
func (d *protoDecoder) unknown(number protowire.Number) error {
	if d.dropUnknown {
		return nil
	}
	return fmt.Errorf("field number %d: %w", number, errUnknown)
}

// field takes a value of a field. The slot is the place of the field's node in the tree's slots.
func (d *protoDecoder) field(f *protoField, message int32, slot int, v wireValue) (err error) {
	i := d.tree.slots[slot]
	if i != 0 && !f.list && f.key == nil {
		return errTwice
	}
	if i == 0 {
		if i, err = d.tree.add(message, f.name); err != nil {
			return err
		}
		d.tree.slots[slot] = i
	}
	switch {
	case f.key != nil:
		d.tree.nodes[i].kind = Map
		return d.entry(f, i, v)
	case f.list:
		d.tree.nodes[i].kind = List
		return d.elements(f, i, v)
	}
	return d.single(f, i, v)
}

// complete checks maps, and adds what is not on the wire because it is zero or empty.
func (d *protoDecoder) complete(m *protoMessage, message int32, slots int) error {
	oneofs := uint64(0)
	for n := range m.fields {
		f := &m.fields[n]
		i := d.tree.slots[slots+n]
		var err error
		switch {
		case i != 0 && oneofs&f.oneof != 0:
			err = errOneof
		case i != 0 && f.oneof != 0:
			oneofs |= f.oneof
		case i == 0 && f.required:
			err = errMissing
		case i == 0 && !f.presence:
			if i, err = d.tree.add(message, f.name); err == nil {
				d.zero(f, &d.tree.nodes[i])
			}
		case i != 0 && f.key != nil:
			err = d.tree.onlyOnce(i)
		}
		if err != nil {
			return inField(f.name, err)
		}
	}
	return nil
}

var errOneof = errors.New("another field of its oneof is there too")

// zero makes n the value of a field without presence that is not there.
func (d *protoDecoder) zero(f *protoField, n *node) {
	switch {
	case f.key != nil:
		n.kind = Map
	case f.list:
		n.kind = List
	case f.kind == protoreflect.StringKind:
		n.kind = Text
	case f.kind == protoreflect.BytesKind:
		n.kind = Bytes
	default:
		d.number(f, n, 0)
	}
}

// elements takes a value of a list: one element, or many that are packed.
func (d *protoDecoder) elements(f *protoField, list int32, v wireValue) error {
	if v.typ == f.wire() || v.typ != protowire.BytesType {
		return d.element(f, list, v)
	}
	for data := v.bytes; len(data) > 0; {
		one, rest, err := readValue(f.number, f.wire(), data)
		if err == nil {
			err = d.element(f, list, one)
		}
		if err != nil {
			return err
		}
		data = rest
	}
	return nil
}

func (d *protoDecoder) element(f *protoField, list int32, v wireValue) error {
	number := int(d.tree.nodes[list].count)
	i, err := d.tree.add(list, "")
	if err == nil {
		err = d.single(f, i, v)
	}
	if err != nil {
		return inElement(number, err)
	}
	return nil
}

// entry takes an entry of a map: a message of a key and a value, which are zero if they are not there.
func (d *protoDecoder) entry(f *protoField, object int32, v wireValue) error {
	if v.typ != protowire.BytesType {
		return errWireType
	}
	key, value := wireValue{typ: f.key.wire()}, wireValue{typ: f.value.wire()}
	for data := v.bytes; len(data) > 0; {
		number, one, rest, err := readField(data)
		if err != nil {
			return err
		}
		switch data = rest; number {
		case f.key.number:
			key = one
		case f.value.number:
			value = one
		default:
			if err := d.unknown(number); err != nil {
				return err
			}
		}
	}
	name, err := d.name(f.key, key)
	if err != nil {
		return err
	}
	i, err := d.tree.add(object, name)
	if err == nil {
		err = d.single(f.value, i, value)
	}
	if err != nil {
		return inField(name, err)
	}
	return nil
}

// name returns the key of a map's entry as text.
func (d *protoDecoder) name(f *protoField, v wireValue) (string, error) {
	if v.typ != f.wire() {
		return "", errWireType
	}
	if f.kind == protoreflect.StringKind {
		if !utf8.Valid(v.bytes) {
			return "", errUTF8
		}
		return view(v.bytes), nil
	}
	var t Tree
	key := t.Root()
	d.number(f, key.node(), v.number)
	from := len(d.tree.text)
	d.tree.text = appendScalar(d.tree.text, key)
	return view(d.tree.text[from:]), nil
}

var errWireType = errors.New("it has another type in the payload than in the schema")

// single makes the null node i one value of a field.
func (d *protoDecoder) single(f *protoField, i int32, v wireValue) error {
	if v.typ != f.wire() {
		return errWireType
	}
	n := &d.tree.nodes[i]
	switch f.kind {
	case protoreflect.StringKind:
		if !utf8.Valid(v.bytes) {
			return errUTF8
		}
		n.kind, n.text = Text, view(v.bytes)
	case protoreflect.BytesKind:
		n.kind, n.text = Bytes, view(v.bytes)
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return d.message(f.message, i, v.bytes)
	default:
		d.number(f, n, v.number)
	}
	return nil
}

// number makes n a number, a Bool, or the name of an enum's value.
func (d *protoDecoder) number(f *protoField, n *node, u uint64) {
	switch f.kind {
	case protoreflect.BoolKind:
		n.setBool(u != 0)
	case protoreflect.EnumKind:
		if name, ok := f.enum.names[int32(u)]; ok {
			n.kind, n.text = Text, name
			return
		}
		n.setInt(int64(int32(u)))
	case protoreflect.Int32Kind, protoreflect.Sfixed32Kind:
		n.setInt(int64(int32(u)))
	case protoreflect.Sint32Kind:
		n.setInt(protowire.DecodeZigZag(u & math.MaxUint32))
	case protoreflect.Int64Kind, protoreflect.Sfixed64Kind:
		n.setInt(int64(u))
	case protoreflect.Sint64Kind:
		n.setInt(protowire.DecodeZigZag(u))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		n.setUint(uint64(uint32(u)))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		n.setUint(u)
	case protoreflect.FloatKind:
		n.setFloat(float64(math.Float32frombits(uint32(u))))
		n.single = true
	case protoreflect.DoubleKind:
		n.setFloat(math.Float64frombits(u))
	}
}

// time makes the null node i the text of a Timestamp or a Duration.
func (d *protoDecoder) time(m *protoMessage, i int32, data []byte) error {
	var at instant
	for len(data) > 0 {
		number, v, rest, err := readField(data)
		switch {
		case err != nil:
		case number > 2:
			err = d.unknown(number)
		case v.typ != protowire.VarintType:
			err = errWireType
		case number == 1:
			at.seconds = int64(v.number)
		default:
			at.nanos = int64(int32(v.number))
		}
		if err != nil {
			return err
		}
		data = rest
	}
	return d.tree.setText(i, func(dst []byte) ([]byte, error) {
		if m.special == protoDuration {
			return appendDuration(dst, at)
		}
		if at.nanos < 0 || at.nanos >= 1e9 {
			return dst, errNanos
		}
		return appendTime(dst, at, time.RFC3339Nano)
	})
}

var (
	errNanos    = errors.New("want 0 to 999999999 nanoseconds")
	errDuration = errors.New("want a duration of at most 315576000000 seconds, with nanoseconds of the same sign")
)

const maxDuration = 315_576_000_000 // seconds, duration.proto

// appendDuration appends a duration as protobuf's JSON mapping has it, such as 1.5s.
func appendDuration(dst []byte, d instant) ([]byte, error) {
	if d.seconds < -maxDuration || d.seconds > maxDuration || d.nanos <= -1e9 || d.nanos >= 1e9 || d.seconds < 0 && d.nanos > 0 || d.seconds > 0 && d.nanos < 0 {
		return dst, errDuration
	}
	if d.seconds < 0 || d.nanos < 0 {
		dst = append(dst, '-')
		d.seconds, d.nanos = -d.seconds, -d.nanos
	}
	dst = strconv.AppendInt(dst, d.seconds, 10)
	if d.nanos > 0 {
		dst = append(dst, '.')
		for unit := int64(1e8); d.nanos > 0; unit /= 10 {
			dst = append(dst, '0'+byte(d.nanos/unit))
			d.nanos %= unit
		}
	}
	return append(dst, 's'), nil
}

// only makes the null node i what the only field of a message is.
func (d *protoDecoder) only(m *protoMessage, i int32, data []byte) error {
	f := &m.fields[0]
	d.zero(f, &d.tree.nodes[i])
	for len(data) > 0 {
		number, v, rest, err := readField(data)
		switch {
		case err != nil:
		case number != f.number:
			err = d.unknown(number)
		case f.key != nil:
			err = d.entry(f, i, v)
		case f.list:
			err = d.elements(f, i, v)
		default:
			d.tree.empty(i)
			err = d.single(f, i, v)
		}
		if err != nil {
			return err
		}
		data = rest
	}
	if f.key != nil {
		return d.tree.onlyOnce(i)
	}
	return nil
}

var errOneValue = errors.New("want one value in a google.protobuf.Value")

// value makes the null node i what a google.protobuf.Value holds.
func (d *protoDecoder) value(m *protoMessage, i int32, data []byte) error {
	if len(data) == 0 {
		return errOneValue
	}
	number, v, rest, err := readField(data)
	if err != nil {
		return err
	}
	f, known := m.byNumber[number]
	null := known && m.fields[f].kind == protoreflect.EnumKind
	switch {
	case !known, len(rest) > 0, null && (v.typ != protowire.VarintType || v.number != 0):
		return errOneValue
	case null:
		return nil
	}
	return d.single(&m.fields[f], i, v)
}
