package wire

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/longline/longline/internal/protofield"
)

// protoReader iterates over the fields of one protobuf message, buf[at:end].
type protoReader struct {
	buf     []byte
	at, end int

	// The field that next has read. Offsets count from the start of the frame.
	protofield.Field
	tag int
}

func (r *protoReader) more() bool { return r.at < r.end }

// next reads one field. Its errors are CloseMalformed.
func (r *protoReader) next() error {
	r.tag = r.at
	n := r.Read(r.buf[r.at:r.end])
	if n < 0 || r.Num > protowire.MaxValidNumber {
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
	return protoReader{buf: r.buf, at: r.at - len(r.Bytes), end: r.at}
}
