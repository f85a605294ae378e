// Package protofield reads and writes single fields of protobuf's wire format, for messages that have no generated
// code. What the fields mean, and the errors, are its users'.
package protofield

import "google.golang.org/protobuf/encoding/protowire"

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
