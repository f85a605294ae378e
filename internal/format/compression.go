package format

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Compression is how a payload or a batch is compressed. The zero value is None.
type Compression string

// The compressions.
const (
	None   Compression = "none"
	Gzip   Compression = "gzip"   // RFC 1952
	Snappy Compression = "snappy" // the block format
	Zstd   Compression = "zstd"   // RFC 8878
)

// Validate returns an error unless c is one of the compressions.
func (c Compression) Validate() error {
	switch c {
	case "", None, Gzip, Snappy, Zstd:
		return nil
	}
	return errors.New("want none, gzip, snappy or zstd, not " + string(c))
}

// Compressed reports whether Compress changes anything.
func (c Compression) Compressed() bool { return c != "" && c != None }

// Compress appends src, compressed, to dst. c is valid. Safe from any goroutine.
func (c Compression) Compress(dst, src []byte) []byte {
	switch c {
	case Gzip:
		return compressGzip(dst, src)
	case Snappy:
		at := len(dst)
		dst = slices.Grow(dst, s2.MaxEncodedLen(len(src)))
		return dst[:at+len(s2.EncodeSnappy(dst[at:cap(dst)], src))]
	case Zstd:
		return zstdEncoder().EncodeAll(src, dst)
	}
	return append(dst, src...)
}

// errTooLong is the error for what would be more than its receiver takes.
func errTooLong(most int) error { return fmt.Errorf("it holds more than %d bytes", most) }

// Decompress appends what src holds to dst: at most that many bytes, more is an error. c is valid. After an error dst is returned as it was.
// Safe from any goroutine.
func (c Compression) Decompress(dst, src []byte, most int) ([]byte, error) {
	out, err := c.decompress(dst, src, most)
	if err != nil {
		return dst, fmt.Errorf("%s: %w", c, err)
	}
	return out, nil
}

func (c Compression) decompress(dst, src []byte, most int) ([]byte, error) {
	switch c {
	case Gzip:
		return decompressGzip(dst, src, most)
	case Snappy:
		return decompressSnappy(dst, src, most)
	case Zstd:
		return decompressZstd(dst, src, most)
	}
	if len(src) > most {
		return dst, errTooLong(most)
	}
	return append(dst, src...), nil
}

// appender is a writer into a slice.
type appender struct{ to []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.to = append(a.to, p...)
	return len(p), nil
}

// gzipWriter is a writer with what it writes to. It is reused: its tables are some hundred KiB.
type gzipWriter struct {
	*gzip.Writer
	out appender
}

var gzipWriters = sync.Pool{New: func() any {
	w := new(gzipWriter)
	w.Writer = gzip.NewWriter(&w.out)
	return w
}}

func compressGzip(dst, src []byte) []byte {
	w := gzipWriters.Get().(*gzipWriter)
	w.out.to = dst
	w.Reset(&w.out)
	_, _ = w.Write(src) // an appender takes everything
	_ = w.Close()
	dst, w.out.to = w.out.to, nil
	gzipWriters.Put(w)
	return dst
}

// gzipReader is a reader with what it reads from.
type gzipReader struct {
	gzip.Reader
	in bytes.Reader
}

var gzipReaders = sync.Pool{New: func() any { return new(gzipReader) }}

func decompressGzip(dst, src []byte, most int) ([]byte, error) {
	r := gzipReaders.Get().(*gzipReader)
	defer func() {
		r.in.Reset(nil)
		gzipReaders.Put(r)
	}()
	r.in.Reset(src)
	if err := r.Reset(&r.in); err != nil {
		return dst, err
	}
	return readAll(dst, r, most)
}

// snappyRatio is more than what snappy can shrink: 64 bytes become 3.
const snappyRatio = 32

func decompressSnappy(dst, src []byte, most int) ([]byte, error) {
	n, err := s2.DecodedLen(src)
	switch {
	case err != nil:
		return dst, err
	case n > most:
		return dst, errTooLong(most)
	case n > snappyRatio*len(src): // a promise for which no memory is taken
		return dst, s2.ErrCorrupt
	}
	at := len(dst)
	dst = slices.Grow(dst, n)
	out, err := s2.Decode(dst[at:at+n], src)
	if err != nil {
		return dst, err
	}
	return dst[:at+len(out)], nil
}

// zstdEncoder returns the encoder of the process: EncodeAll is safe from any goroutine.
var zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // the options are constants
	}
	return e
})

// zstdReader is a reader with what it reads from. It starts no goroutine.
type zstdReader struct {
	*zstd.Decoder
	in bytes.Reader
}

var zstdReaders = sync.Pool{New: func() any {
	r := new(zstdReader)
	var err error
	r.Decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		panic(err) // the options are constants
	}
	return r
}}

func decompressZstd(dst, src []byte, most int) ([]byte, error) {
	r := zstdReaders.Get().(*zstdReader)
	defer func() {
		_ = r.Reset(nil)
		r.in.Reset(nil)
		zstdReaders.Put(r)
	}()
	r.in.Reset(src)
	if err := r.Reset(&r.in); err != nil {
		return dst, err
	}
	return readAll(dst, r, most)
}

// readAll appends what r holds to dst.
func readAll(dst []byte, r io.Reader, most int) ([]byte, error) {
	for start := len(dst); ; {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, 512)
		}
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst)-start > most:
			return dst, errTooLong(most)
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, err
		}
	}
}
