package format

import (
	"fmt"
	"math"
	"reflect"

	"github.com/hamba/avro/v2"
)

// avroKind is what the bytes of an Avro type are.
type avroKind uint8

const (
	avroNull avroKind = iota
	avroBoolean
	avroInt
	avroLong
	avroFloat
	avroDouble
	avroString
	avroBytes
	avroFixed
	avroEnum
	avroArray
	avroMap
	avroRecord
	avroUnion
)

var avroKinds = map[avro.Type]avroKind{
	avro.Null: avroNull, avro.Boolean: avroBoolean, avro.Int: avroInt, avro.Long: avroLong, avro.Float: avroFloat, avro.Double: avroDouble,
	avro.String: avroString, avro.Bytes: avroBytes, avro.Fixed: avroFixed, avro.Enum: avroEnum, avro.Array: avroArray, avro.Map: avroMap,
	avro.Record: avroRecord, avro.Error: avroRecord, avro.Union: avroUnion,
}

// avroLogical is what the value of an Avro type means.
type avroLogical uint8

const (
	avroPlain     avroLogical = iota
	avroDate                  // days since 1970
	avroClock                 // parts of a second since midnight
	avroTimestamp             // parts of a second since 1970
	avroWallTime              // the same, in an unknown zone
	avroDecimal
)

// avroLogicals has the logical types that are more than what they are made of, with the parts of a second that they count.
var avroLogicals = map[avro.LogicalType]struct {
	logical   avroLogical
	perSecond int64
}{
	avro.Date: {avroDate, 0}, avro.TimeMillis: {avroClock, 1e3}, avro.TimeMicros: {avroClock, 1e6}, avro.Decimal: {avroDecimal, 0},
	avro.TimestampMillis: {avroTimestamp, 1e3}, avro.TimestampMicros: {avroTimestamp, 1e6},
	avro.LocalTimestampMillis: {avroWallTime, 1e3}, avro.LocalTimestampMicros: {avroWallTime, 1e6},
}

// avroType is a type of an Avro schema, made so that a payload is written and read in one walk. Immutable.
type avroType struct {
	kind      avroKind
	logical   avroLogical
	fields    []avroField    // of a record
	byName    map[string]int // index of the field of a record, or of the symbol of an enum
	symbols   []string       // of an enum
	item      *avroType      // of an array or map
	branches  []*avroType    // of a union
	null      int            // index of null in a union, or -1
	size      int            // of fixed, or -1
	perSecond int64          // what a time counts
	scale     int            // of a decimal: digits behind the point
	digits    int            // of a decimal, at most
}

// avroField is a field of a record.
type avroField struct {
	name     string // in payloads of other formats: the schema's property json_name, or the name
	typ      *avroType
	fallback []byte // the default, as Avro
	defaults bool   // there is a default
}

// parseAvro makes the type that a schema describes.
func parseAvro(schema []byte) (t *avroType, err error) {
	defer func() { // package avro panics at some that are invalid
		if r := recover(); r != nil {
			err = fmt.Errorf("invalid schema: %v", r)
		}
	}()
	parsed, err := avro.ParseBytesWithCache(schema, "", new(avro.SchemaCache))
	if err != nil {
		return nil, err
	}
	c := avroCompiler{make(map[string]*avroType)}
	return c.compile(parsed)
}

// avroCompiler makes types of a schema that refers to itself.
type avroCompiler struct {
	named map[string]*avroType
}

func (c avroCompiler) compile(s avro.Schema) (*avroType, error) {
	if ref, ok := s.(*avro.RefSchema); ok {
		s = ref.Schema()
	}
	t := &avroType{kind: avroKinds[s.Type()], null: -1, size: -1}
	if n, ok := s.(avro.NamedSchema); ok {
		if known := c.named[n.FullName()]; known != nil {
			return known, nil
		}
		c.named[n.FullName()] = t
	}
	if l, ok := s.(avro.LogicalTypeSchema); ok && l.Logical() != nil {
		known := avroLogicals[l.Logical().Type()]
		t.logical, t.perSecond = known.logical, known.perSecond
		if d, ok := l.Logical().(*avro.DecimalLogicalSchema); ok {
			t.digits, t.scale = d.Precision(), d.Scale()
		}
	}
	var err error
	switch s := s.(type) {
	case *avro.RecordSchema:
		err = c.record(t, s)
	case *avro.EnumSchema:
		t.symbols, t.byName = s.Symbols(), make(map[string]int)
		for i, symbol := range t.symbols {
			t.byName[symbol] = i
		}
	case *avro.ArraySchema:
		t.item, err = c.compile(s.Items())
	case *avro.MapSchema:
		t.item, err = c.compile(s.Values())
	case *avro.FixedSchema:
		t.size = s.Size()
	case *avro.UnionSchema:
		for i, b := range s.Types() {
			if b.Type() == avro.Null {
				t.null = i
			}
			branch, err := c.compile(b)
			if err != nil {
				return nil, err
			}
			t.branches = append(t.branches, branch)
		}
	}
	return t, err
}

func (c avroCompiler) record(t *avroType, s *avro.RecordSchema) error {
	t.byName = make(map[string]int)
	add := func(name string, i int) error {
		if j, taken := t.byName[name]; taken && j != i {
			return fmt.Errorf("record %s: two fields are called %q", s.FullName(), name)
		}
		t.byName[name] = i
		return nil
	}
	for i, f := range s.Fields() {
		typ, err := c.compile(f.Type())
		if err != nil {
			return err
		}
		field := avroField{name: f.Name(), typ: typ, defaults: f.HasDefault()}
		if name, ok := f.Prop("json_name").(string); ok && name != "" {
			field.name = name
		}
		t.fields = append(t.fields, field)
		for _, name := range append([]string{field.name, f.Name()}, f.Aliases()...) {
			if err := add(name, i); err != nil {
				return err
			}
		}
	}
	for i, f := range s.Fields() { // all fields of a record that contains itself are there now
		if !f.HasDefault() {
			continue
		}
		var err error
		if t.fields[i].fallback, err = t.fields[i].typ.appendDefault(nil, f.Default()); err != nil {
			return fmt.Errorf("record %s: default of %s: %w", s.FullName(), f.Name(), err)
		}
	}
	return nil
}

// appendDefault appends a default, as package avro has it. A union's default is of its first type.
func (t *avroType) appendDefault(dst []byte, value any) ([]byte, error) {
	if len(dst) > maxOutput {
		return dst, errOutput
	}
	v := reflect.ValueOf(value)
	switch t.kind {
	case avroNull:
		return dst, nil
	case avroUnion:
		return t.branches[0].appendDefault(appendLong(dst, 0), value)
	case avroBoolean:
		if b, ok := value.(bool); ok {
			return appendBoolean(dst, b), nil
		}
	case avroInt, avroLong:
		if v.IsValid() && v.CanInt() {
			return appendLong(dst, v.Int()), nil
		}
	case avroFloat:
		if v.IsValid() && v.CanFloat() {
			return appendFixed32(dst, math.Float32bits(float32(v.Float()))), nil
		}
	case avroDouble:
		if v.IsValid() && v.CanFloat() {
			return appendFixed64(dst, math.Float64bits(v.Float())), nil
		}
	case avroString:
		if s, ok := value.(string); ok {
			return append(appendLong(dst, int64(len(s))), s...), nil
		}
	case avroEnum:
		if s, ok := value.(string); ok {
			return appendLong(dst, int64(t.byName[s])), nil
		}
	case avroBytes:
		if b, ok := value.([]byte); ok {
			return append(appendLong(dst, int64(len(b))), b...), nil
		}
	case avroFixed:
		if v.IsValid() && v.Kind() == reflect.Array && v.Len() == t.size {
			for i := range v.Len() {
				dst = append(dst, byte(v.Index(i).Uint()))
			}
			return dst, nil
		}
	case avroArray:
		if list, ok := value.([]any); ok {
			return t.appendDefaultItems(dst, len(list), func(i int) (string, any) { return "", list[i] })
		}
	case avroMap:
		if m, ok := value.(map[string]any); ok {
			names := sortedKeys(m)
			return t.appendDefaultItems(dst, len(names), func(i int) (string, any) { return names[i], m[names[i]] })
		}
	case avroRecord:
		if m, ok := value.(map[string]any); ok {
			return t.appendDefaultRecord(dst, m)
		}
	}
	return dst, fmt.Errorf("%v has another type", value)
}

func (t *avroType) appendDefaultItems(dst []byte, n int, item func(i int) (string, any)) (_ []byte, err error) {
	if n > 0 {
		dst = appendLong(dst, int64(n))
	}
	for i := range n {
		name, value := item(i)
		if t.kind == avroMap {
			dst = append(appendLong(dst, int64(len(name))), name...)
		}
		if dst, err = t.item.appendDefault(dst, value); err != nil {
			return dst, err
		}
	}
	return append(dst, 0), nil
}

func (t *avroType) appendDefaultRecord(dst []byte, m map[string]any) (_ []byte, err error) {
	names := make([]string, len(t.fields))
	for name, i := range t.byName {
		if _, ok := m[name]; ok {
			names[i] = name
		}
	}
	for i, f := range t.fields {
		if dst, err = f.typ.appendDefault(dst, m[names[i]]); err != nil {
			return dst, err
		}
	}
	return dst, nil
}
