package wire

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// protoReader iterates over the fields of one protobuf message, buf[at:end].
type protoReader struct {
	buf     []byte
	at, end int

	// The field that next has read. Offsets count from the start of the frame.
	num    protowire.Number
	typ    protowire.Type
	tag    int
	varint uint64 // of protowire.VarintType
	bytes  []byte // of protowire.BytesType
}

func (r *protoReader) more() bool { return r.at < r.end }

// next reads one field. Its errors are CloseMalformed.
func (r *protoReader) next() error {
	var n int
	r.tag = r.at
	r.num, r.typ, n = protowire.ConsumeTag(r.buf[r.at:r.end])
	if n < 0 || r.num > protowire.MaxValidNumber {
		return r.fail()
	}
	r.at += n
	switch rest := r.buf[r.at:r.end]; r.typ {
	case protowire.VarintType:
		r.varint, n = protowire.ConsumeVarint(rest)
	case protowire.BytesType:
		r.bytes, n = protowire.ConsumeBytes(rest)
	default:
		n = protowire.ConsumeFieldValue(r.num, r.typ, rest)
	}
	if n < 0 {
		return r.fail()
	}
	r.at += n
	return nil
}

func (r *protoReader) fail() error {
	return CloseMalformed.Because(fmt.Sprintf("protobuf at byte %d: want a whole field", r.tag))
}

// body returns a reader of the message that next read as bytes.
func (r *protoReader) body() protoReader {
	return protoReader{buf: r.buf, at: r.at - len(r.bytes), end: r.at}
}
