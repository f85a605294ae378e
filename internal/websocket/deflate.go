package websocket

import (
	"sync"

	"github.com/klauspost/compress/flate"
)

// CompressMin is a good minimum size, in bytes, of messages that are compressed.
const CompressMin = 256

// Window is the maximum distance of references in compressed data, as a power of two: 8 to 15, RFC 7692
// §7.1.2. 0 stands for a connection without permessage-deflate.
type Window uint8

// FullWindow is the largest window, and the default.
const FullWindow Window = 15

// appender is an io.Writer that appends.
type appender struct{ buf []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.buf = append(a.buf, p...)
	return len(p), nil
}

var appenders = sync.Pool{New: func() any { return new(appender) }}

// deflate appends the compressed payload of a message, RFC 7692 §7.2.1: blocks up to a flush,
// without the last four bytes of the flush. It keeps no state between messages,
// as no_context_takeover requires (§7.1.1). If the window is smaller than the full one,
// it compresses pieces of the window's size independently.
func deflate(dst, payload []byte, window Window) []byte {
	w := appenders.Get().(*appender)
	w.buf = dst
	piece := len(payload)
	if window < FullWindow {
		piece = 1 << window
	}
	for ; len(payload) > 0; payload = payload[min(piece, len(payload)):] {
		_ = flate.StatelessDeflate(w, payload[:min(piece, len(payload))], false, nil) // fails only when Write does
	}
	dst, w.buf = w.buf, nil
	appenders.Put(w)
	return dst[:len(dst)-4]
}
