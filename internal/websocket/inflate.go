package websocket

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

// deflateTail is what the sender cut off the end of a message, RFC 7692 §7.2.1, and after it an
// empty final block that ends the stream for the decompressor.
const deflateTail = "\x00\x00\xff\xff" + "\x01\x00\x00\xff\xff"

// window is the maximum distance of references in DEFLATE, RFC 1951 §2.
const window = 32 << 10

// maxStreams bounds the final blocks in one message: each costs a copy of the window, and
// a sender needs at most one per fragment.
const maxStreams = 256

// inflateStep is the least free room, in bytes, for a read of the decompressor.
const inflateStep = 512

// deflateBound returns how many bytes the compressed form of n bytes may have, even if a
// compressor with small blocks could not compress them.
func deflateBound(n int) int { return n + n/8 + 64 }

// inflater is a decompressor, about 45 KB, and its source.
type inflater struct {
	source bytes.Reader
	flate  io.ReadCloser // also a flate.Resetter
}

var inflaters = sync.Pool{New: func() any {
	z := new(inflater)
	z.flate = flate.NewReader(&z.source)
	return z
}}

// inflate decompresses the message in a, RFC 7692 §7.2.2, into a borrowed assembly.
func inflate(a *assembly, limit int) (*assembly, *Error) {
	out := borrow(min(4*len(a.buf), limit+1))
	out.op, out.fin = a.op, true
	if len(a.buf) == 0 { // lenient: §7.2.3.6 requires one byte for an empty message
		return out, nil
	}
	a.grow(len(deflateTail))
	a.buf = append(a.buf, deflateTail...)
	z := inflaters.Get().(*inflater)
	e := z.run(a.buf, out, limit)
	z.source.Reset(nil)
	inflaters.Put(z)
	if e == nil && a.op == Text && !validUTF8(out.buf) {
		e = ErrInvalidUTF8
	}
	if e != nil {
		out.giveBack()
		return nil, e
	}
	return out, nil
}

// run decompresses all of src. RFC 7692 §7.2.3.4 allows final blocks inside a message:
// the data after one continues with the same window.
func (z *inflater) run(src []byte, out *assembly, limit int) *Error {
	z.source.Reset(src)
	for streams := 0; z.source.Len() > len(deflateTail); streams++ {
		if streams == maxStreams {
			return ErrDeflate
		}
		history := out.buf[max(0, len(out.buf)-window):]
		if z.flate.(flate.Resetter).Reset(&z.source, history) != nil {
			return ErrDeflate
		}
		if e := z.stream(out, limit); e != nil {
			return e
		}
	}
	return nil
}

// stream decompresses up to the end of a final block.
func (z *inflater) stream(out *assembly, limit int) *Error {
	for {
		out.grow(inflateStep)
		n, err := z.flate.Read(out.buf[len(out.buf):cap(out.buf)])
		out.buf = out.buf[:len(out.buf)+n]
		switch {
		case len(out.buf) > limit:
			return ErrMessageTooBig
		case err == io.EOF:
			return nil
		case err != nil:
			return ErrDeflate
		}
	}
}
