package websocket

import (
	"slices"
	"testing"
)

// Any split of the bytes yields the same events and the same error, on either side, with
// or without compression, and both limits at work.
func FuzzReader(f *testing.F) {
	add := func(stream string) {
		for _, mode := range []byte{0, 1, 2, 3, 4} {
			f.Add([]byte(stream), []byte{1}, mode)
			f.Add([]byte(stream), []byte{3, 14, 1, 200}, mode)
		}
	}
	add(fin(Text, "hello") + fin(Ping, "p") + fin(Close, "\x03\xe8bye"))
	add(part(Text, "a\xf0\x9f") + fin(Ping, "p") + part(Continuation, "") + fin(Continuation, "\x98\x80"))
	add(frame(bitRSV1, Text, helloFixed[:3]) + fin(Pong, "") + fin(Continuation, helloFixed[3:]) + fin(Binary, "x"))
	add(fin(Binary, string(telemetry(700))) + part(Text, string(telemetry(130))) + fin(Text, ""))
	add(string(AppendClose(AppendCompressed(AppendFrame(nil, Text, []byte("é")), Text, telemetry(300), 0), 1000, "")))
	f.Fuzz(func(t *testing.T, stream, sizes []byte, mode byte) {
		cfg := &Config{Client: mode&1 != 0, MaxMessage: 1000}
		if mode&4 != 0 {
			cfg.MaxFrame = 100
		}
		deflate := mode&2 != 0
		whole := read(cfg, deflate, slices.Clone(stream))
		cuts := make([]int, len(sizes))
		for i, s := range sizes {
			cuts[i] = int(s)
		}
		split := read(cfg, deflate, slices.Clone(stream), cuts...)
		if whole.err != split.err || !slices.Equal(whole.events, split.events) {
			t.Fatalf("whole: %q, %v\nsplit: %q, %v", whole.events, whole.err, split.events, split.err)
		}
		if e, ok := whole.err.(*Error); whole.err != nil && (!ok || !validCode(e.Code)) {
			t.Fatalf("error %v", whole.err)
		}
	})
}
