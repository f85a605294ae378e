// Package protofield reads and writes single fields of protobuf's wire format, for messages that have no generated
// code. What the fields mean is its users' business.
package protofield

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field is one field.
type Field struct {
	Num    protowire.Number
	Type   protowire.Type
	Number uint64 // set if Type is VarintType
	Bytes  []byte // set if Type is BytesType: a view of what was read
}

// Read reads the field at the beginning of p and returns its size in bytes. The size is negative if p does not begin with
// a whole field; Num is 0 then if not even the tag is whole and valid. Number and Bytes keep what an earlier Read set
// unless the field is of their type.
func (f *Field) Read(p []byte) int {
	tag, value := 0, 0
	if f.Num, f.Type, tag = protowire.ConsumeTag(p); tag < 0 {
		return tag
	}
	switch rest := p[tag:]; f.Type {
	case protowire.VarintType:
		f.Number, value = protowire.ConsumeVarint(rest)
	case protowire.BytesType:
		f.Bytes, value = protowire.ConsumeBytes(rest)
	default:
		value = protowire.ConsumeFieldValue(f.Num, f.Type, rest)
	}
	if value < 0 {
		return value
	}
	return tag + value
}

// AppendNumber appends a field of VarintType to dst, unless v is 0.
func AppendNumber(dst []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), v)
}

// AppendText appends a field of BytesType to dst, unless s is empty.
func AppendText[T string | []byte](dst []byte, num protowire.Number, s T) []byte {
	if len(s) == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	return append(protowire.AppendVarint(dst, uint64(len(s))), s...)
}

// AppendWithin appends v as a field of BytesType to dst, encoded by body.
func AppendWithin[T any](dst []byte, num protowire.Number, v T, body func([]byte, T) []byte) []byte {
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	at := len(dst)
	dst = body(dst, v)
	var room [10]byte
	return slices.Insert(dst, at, protowire.AppendVarint(room[:0], uint64(len(dst)-at))...)
}

// Value is a field that Each has read. A method that does not find what it wants sets Bad.
type Value struct {
	Field
	Bad error
}

var (
	errType = errors.New("it has another type")
	errText = errors.New("it is not UTF-8")
	errSize = errors.New("it is too large")
)

// Uint returns the field as a number.
func (v *Value) Uint() uint64 {
	if v.Type != protowire.VarintType {
		v.Bad = errType
	}
	return v.Number
}

// Within is Uint for a number of at most most.
func (v *Value) Within(most uint64) uint64 {
	if v.Uint() > most {
		v.Bad = errSize
		return 0
	}
	return v.Number
}

// Body returns the field as bytes, a view of what was read.
func (v *Value) Body() []byte {
	if v.Type != protowire.BytesType {
		v.Bad = errType
	}
	return v.Bytes
}

// Text is Body as a string, which shares its memory.
func (v *Value) Text() string {
	p := v.Body()
	if !utf8.Valid(p) {
		v.Bad = errText
	}
	return unsafe.String(unsafe.SliceData(p), len(p))
}

// Each calls set for each field of p, until set returns an error or the field is Bad. The error wraps bad.
func Each(p []byte, bad error, set func(*Value) error) error {
	var v Value // one for all fields: it moves to the heap
	for len(p) > 0 {
		n := v.Read(p)
		switch {
		case n < 0 && v.Num == 0:
			return fmt.Errorf("%w: %d bytes before its end: want a field", bad, len(p))
		case n < 0:
			return fmt.Errorf("%w: field %d is cut off", bad, v.Num)
		}
		v.Bytes = slices.Clip(v.Bytes)
		err := set(&v)
		if v.Bad != nil {
			err = v.Bad
		}
		if err != nil {
			return fmt.Errorf("%w: field %d: %w", bad, v.Num, err)
		}
		p = p[n:]
	}
	return nil
}
