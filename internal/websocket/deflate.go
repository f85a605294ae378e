package websocket

import (
	"sync"

	"github.com/klauspost/compress/flate"
)

// CompressMin is a good least size, in bytes, of a message worth compressing.
const CompressMin = 256

// Window is how far back compressed data may refer, as a power of two: 8 to 15, RFC 7692
// §7.1.2. 0 stands for a connection without permessage-deflate.
type Window uint8

// FullWindow is the largest window, and the one when nothing else was agreed on.
const FullWindow Window = 15

// appender is an io.Writer that appends.
type appender struct{ buf []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.buf = append(a.buf, p...)
	return len(p), nil
}

var appenders = sync.Pool{New: func() any { return new(appender) }}

// deflate adds the compressed payload of a message, RFC 7692 §7.2.1: blocks up to a flush,
// without the flush's last four bytes. It keeps no state from one message to the next,
// which is what no_context_takeover means (§7.1.1). In a smaller window than the full one,
// each piece of that size stands alone.
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
