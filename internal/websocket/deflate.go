package websocket

import (
	"sync"

	"github.com/klauspost/compress/flate"
)

// CompressMin is a good least size, in bytes, of a message worth compressing.
const CompressMin = 256

// appender is an io.Writer that appends.
type appender struct{ buf []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.buf = append(a.buf, p...)
	return len(p), nil
}

var appenders = sync.Pool{New: func() any { return new(appender) }}

// deflate adds the compressed payload of a message, RFC 7692 §7.2.1: blocks up to a flush,
// without the flush's last four bytes. It keeps no state from one message to the next,
// which is what no_context_takeover means (§7.1.1).
func deflate(dst, payload []byte) []byte {
	w := appenders.Get().(*appender)
	w.buf = dst
	flate.StatelessDeflate(w, payload, false, nil) // fails only when Write does
	dst, w.buf = w.buf, nil
	appenders.Put(w)
	return dst[:len(dst)-4]
}
