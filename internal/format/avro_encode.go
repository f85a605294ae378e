package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// The functions below write Avro's binary encoding (https://avro.apache.org/docs/1.12.0/specification/#binary-encoding).

func appendLong(dst []byte, v int64) []byte { return binary.AppendVarint(dst, v) } // zig-zag

func appendFixed32(dst []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(dst, v) }

func appendFixed64(dst []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(dst, v) }

func appendBoolean(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// avroEncoder writes one payload. It uses the slots of the tree that it writes.
type avroEncoder struct {
	tree        *Tree
	start       int // where the result begins
	dropUnknown bool
}

var (
	errMissing = errors.New("missing, and the schema has no default")
	errUnknown = errors.New("the schema does not have it")
)

func (e *avroEncoder) append(dst []byte, t *avroType, v Value) (_ []byte, err error) {
	switch t.kind {
	case avroNull:
		if v.Kind() != Null {
			return dst, wants("null", v)
		}
		return dst, nil
	case avroUnion:
		return e.union(dst, t, v)
	case avroRecord:
		return e.record(dst, t, v)
	case avroArray:
		return e.array(dst, t, v)
	case avroMap:
		return e.mapOf(dst, t, v)
	}
	if dst, err = appendAvroScalar(dst, t, v); err != nil {
		return dst, err
	}
	return dst, e.check(dst)
}

func (e *avroEncoder) check(dst []byte) error {
	if len(dst)-e.start > maxOutput {
		return errOutput
	}
	return nil
}

func appendAvroScalar(dst []byte, t *avroType, v Value) ([]byte, error) {
	if t.logical != avroPlain {
		return appendAvroLogical(dst, t, v)
	}
	switch t.kind {
	case avroBoolean:
		b, err := toBool(v)
		return appendBoolean(dst, b), err
	case avroInt, avroLong:
		i, err := toInt(v, t.width())
		return appendLong(dst, i), err
	case avroFloat:
		f, err := toFloat(v, 32)
		return appendFixed32(dst, math.Float32bits(float32(f))), err
	case avroDouble:
		f, err := toFloat(v, 64)
		return appendFixed64(dst, math.Float64bits(f)), err
	case avroString:
		s, err := toText(v)
		return append(appendLong(dst, int64(len(s))), s...), err
	case avroEnum:
		i, ok := t.byName[v.Text()]
		if v.Kind() != Text || !ok {
			return dst, wants("a symbol of the enum", v)
		}
		return appendLong(dst, int64(i)), nil
	}
	return appendAvroBytes(dst, t, v)
}

// width returns the bits of an int or long.
func (t *avroType) width() int {
	if t.kind == avroInt {
		return 32
	}
	return 64
}

// appendAvroBytes appends bytes or fixed.
func appendAvroBytes(dst []byte, t *avroType, v Value) ([]byte, error) {
	from := len(dst)
	dst, err := appendBytes(dst, v)
	if err != nil {
		return dst, err
	}
	size := len(dst) - from
	if t.kind == avroBytes {
		return insertVarint(dst, from, zigzag(int64(size))), nil
	}
	if size != t.size {
		return dst, fmt.Errorf("want %d bytes, not %d", t.size, size)
	}
	return dst, nil
}

func zigzag(v int64) uint64 { return uint64(v<<1) ^ uint64(v>>63) }

// insertVarint inserts a number in front of the bytes from a place on.
func insertVarint(dst []byte, at int, v uint64) []byte {
	var room [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(room[:], v)
	dst = append(dst, room[:n]...)
	copy(dst[at+n:], dst[at:])
	copy(dst[at:], room[:n])
	return dst
}

func appendAvroLogical(dst []byte, t *avroType, v Value) ([]byte, error) {
	if t.logical == avroDecimal {
		return appendDecimal(dst, t, v)
	}
	if v.Kind() != Text || isNumber(v.Text()) {
		i, err := toInt(v, t.width())
		if err != nil {
			return dst, wants("a time, or an integer of what the schema counts,", v)
		}
		return appendLong(dst, i), nil
	}
	switch n, ok := int64(0), false; t.logical {
	case avroDate:
		if n, ok = dayOf(v.Text()); !ok {
			return dst, wants("a date such as 2006-01-02", v)
		}
		return appendLong(dst, n), nil
	case avroClock:
		at, rest, ok := clockOf(v.Text())
		if !ok || rest != "" {
			return dst, wants("a time of day such as 15:04:05.999", v)
		}
		n, _ = at.units(t.perSecond)
		return appendLong(dst, n), nil
	default:
		at, zoned, ok := timeOf(v.Text())
		if !ok || zoned && t.logical == avroWallTime {
			return dst, wants(timeExample[t.logical == avroWallTime], v)
		}
		n, _ = at.units(t.perSecond) // years of four digits fit
		return appendLong(dst, n), nil
	}
}

var timeExample = map[bool]string{
	false: "a time such as 2006-01-02T15:04:05Z",
	true:  "a time without a zone such as 2006-01-02T15:04:05",
}

// union appends the branch for v: null, the only other one, or the first into which v fits as it is.
func (e *avroEncoder) union(dst []byte, t *avroType, v Value) ([]byte, error) {
	if v.Kind() == Null {
		if t.null < 0 {
			return dst, wants("a value", v)
		}
		return appendLong(dst, int64(t.null)), nil
	}
	branch := -1
	if len(t.branches) == 2 && t.null >= 0 {
		branch = 1 - t.null
	} else {
		for i, b := range t.branches {
			if b.fits(v) {
				branch = i
				break
			}
		}
	}
	if branch < 0 {
		return dst, wants("a type of the union", v)
	}
	return e.append(appendLong(dst, int64(branch)), t.branches[branch], v)
}

// fits reports whether v is of this type, as far as can be seen without looking into its elements.
func (t *avroType) fits(v Value) bool {
	switch v.Kind() {
	case Bool:
		return t.kind == avroBoolean
	case Int, Uint:
		switch t.kind {
		case avroInt, avroLong:
			_, err := toInt(v, t.width())
			return err == nil
		case avroFloat, avroDouble:
			return true
		}
		return false
	case Float:
		return t.kind == avroFloat || t.kind == avroDouble
	case Text:
		return t.fitsText(v)
	case Bytes:
		return t.kind == avroBytes || t.kind == avroFixed && len(v.Bytes()) == t.size
	case List:
		return t.kind == avroArray
	case Map:
		return t.kind == avroMap || t.kind == avroRecord && t.fitsMap(v)
	}
	return t.kind == avroNull
}

func (t *avroType) fitsText(v Value) bool {
	switch {
	case t.kind == avroString:
		return true
	case t.kind == avroEnum:
		_, ok := t.byName[v.Text()]
		return ok
	case t.logical != avroPlain && !isNumber(v.Text()):
		_, err := appendAvroLogical(nil, t, v)
		return err == nil
	}
	return false
}

// fitsMap reports whether a record has all members of v, and v all fields that the record needs.
func (t *avroType) fitsMap(v Value) bool {
	needed := 0
	for _, f := range t.fields {
		if !f.optional() {
			needed++
		}
	}
	for name := range v.Fields() {
		i, ok := t.byName[name]
		if !ok {
			return false
		}
		if !t.fields[i].optional() {
			needed--
		}
	}
	return needed <= 0
}

// optional reports whether a payload need not have the field.
func (f *avroField) optional() bool { return f.defaults || f.typ.null >= 0 || f.typ.kind == avroNull }

// record appends the fields in the schema's order. First it finds the member for each.
func (e *avroEncoder) record(dst []byte, t *avroType, v Value) (_ []byte, err error) {
	if v.Kind() != Map {
		return dst, wants("a map", v)
	}
	slots, err := e.tree.slotsFor(v, len(t.fields), e.dropUnknown, t.field)
	for i := 0; i < len(t.fields) && err == nil; i++ {
		f := &t.fields[i]
		switch at := e.tree.slots[slots+i]; {
		case at != 0:
			dst, err = e.append(dst, f.typ, Value{e.tree, at})
		case f.defaults:
			dst = append(dst, f.fallback...)
			err = e.check(dst)
		case f.typ.null >= 0:
			dst = appendLong(dst, int64(f.typ.null))
		case f.typ.kind != avroNull:
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
func (t *avroType) field(name string, guess int) (int, bool) {
	if guess < len(t.fields) && t.fields[guess].name == name {
		return guess, true
	}
	i, ok := t.byName[name]
	return i, ok
}

func (e *avroEncoder) array(dst []byte, t *avroType, v Value) (_ []byte, err error) {
	if v.Kind() != List {
		return dst, wants("a list", v)
	}
	if n := v.Len(); n > 0 {
		dst = appendLong(dst, int64(n))
	}
	i := 0
	for item := range v.Elements() {
		if dst, err = e.append(dst, t.item, item); err != nil {
			return dst, inElement(i, err)
		}
		i++
	}
	return append(dst, 0), e.check(dst)
}

func (e *avroEncoder) mapOf(dst []byte, t *avroType, v Value) (_ []byte, err error) {
	if v.Kind() != Map {
		return dst, wants("a map", v)
	}
	if n := v.Len(); n > 0 {
		dst = appendLong(dst, int64(n))
	}
	for name, item := range v.Fields() {
		dst = append(appendLong(dst, int64(len(name))), name...)
		if dst, err = e.append(dst, t.item, item); err != nil {
			return dst, inField(name, err)
		}
	}
	return append(dst, 0), e.check(dst)
}

// maxDecimal bounds the digits of a decimal: the work with it grows with their square.
const maxDecimal = 256

// decimalDigits reads a text or a number as a whole number of units of 10^-scale: its digits with a sign; false if it has more digits behind the
// point.
func decimalDigits(text string, scale int) (string, bool) {
	if len(text) > maxDecimal {
		return "", false
	}
	sign := ""
	if rest, ok := strings.CutPrefix(text, "-"); ok {
		sign, text = "-", rest
	}
	whole, part, _ := strings.Cut(text, ".")
	part = strings.TrimRight(part, "0")
	if whole == "" || len(part) > scale || strings.Trim(whole+part, "0123456789") != "" || scale > maxDecimal {
		return "", false
	}
	return sign + whole + part + strings.Repeat("0", scale-len(part)), true
}
