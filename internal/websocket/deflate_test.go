package websocket

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"
)

const rsv1 = bitFin | bitRSV1

// RFC 7692 §7.2.3 has these payloads, all of "Hello".
const (
	helloFixed  = "\xf2\x48\xcd\xc9\xc9\x07\x00"
	helloStored = "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"
	helloFinal  = "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"
	helloTwo    = "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"
)

// Autobahn's categories 12 and 13 at the level of the codec, and the examples of the RFC.
func TestInflate(t *testing.T) {
	hello := []string{ev(Text, "Hello")}
	cases := []struct {
		name   string
		in     string
		events []string
		err    error
	}{
		{"§7.2.3.1 one frame", frame(rsv1, Text, helloFixed), hello, nil},
		{"§7.2.3.1 two frames", frame(bitRSV1, Text, helloFixed[:3]) + fin(Continuation, helloFixed[3:]), hello, nil},
		{"§7.2.3.3 stored", frame(rsv1, Text, helloStored), hello, nil},
		{"§7.2.3.4 BFINAL", frame(rsv1, Text, helloFinal), hello, nil},
		{"§7.2.3.5 two blocks", frame(rsv1, Text, helloTwo), hello, nil},
		{"§7.2.3.6 empty", frame(rsv1, Text, "\x00"), []string{ev(Text, "")}, nil},
		{"no byte at all", frame(rsv1, Binary, ""), []string{ev(Binary, "")}, nil},
		{"BFINAL, then more", frame(rsv1, Text, helloFinal[:7]+helloFixed), []string{ev(Text, "HelloHello")}, nil},
		{"BFINAL and nothing behind", frame(rsv1, Text, helloFinal[:7]), hello, nil},
		{"not compressed after all", fin(Text, "Hello") + frame(rsv1, Text, helloFixed), append(hello, hello...), nil},
		{"a ping between", frame(bitRSV1, Text, helloFixed[:3]) + fin(Ping, "p") + fin(Continuation, helloFixed[3:]), append([]string{ev(Ping, "p")}, hello...), nil},

		{"RSV1 on a continuation", frame(bitRSV1, Text, helloFixed[:3]) + frame(rsv1, Continuation, helloFixed[3:]), nil, ErrReservedBits},
		{"RSV1 on a ping", frame(rsv1, Ping, ""), nil, ErrReservedBits},
		{"RSV1 and RSV2", frame(rsv1|0x20, Text, helloFixed), nil, ErrReservedBits},
		{"corrupt", frame(rsv1, Text, "\x07"), nil, ErrDeflate},
		{"reserved block after BFINAL", frame(rsv1, Text, helloFinal[:7]+"\x07\x00\x00"), nil, ErrDeflate},
		{"refers before the start", frame(rsv1, Text, "\x02\x13\x00\x00"), nil, ErrDeflate},
		{"endless final blocks", frame(rsv1, Text, strings.Repeat("\x03\x00", maxStreams+1)), nil, ErrDeflate},
		{"not UTF-8", frame(rsv1, Text, pack("\xff\xfe")), nil, ErrInvalidUTF8},
		{"binary need not be", frame(rsv1, Binary, pack("\xff\xfe")), []string{ev(Binary, "\xff\xfe")}, nil},
		{"as long as may be", frame(rsv1, Binary, pack(strings.Repeat("a", 4096))), []string{ev(Binary, strings.Repeat("a", 4096))}, nil},
		{"a bomb", frame(rsv1, Binary, pack(strings.Repeat("a", 4097))), nil, ErrMessageTooBig},
		{"too long before inflation", frame(rsv1, Binary, strings.Repeat("a", deflateBound(4096)+1)), nil, ErrMessageTooBig},
	}
	for _, c := range cases {
		for _, sizes := range [][]int{nil, {1}} {
			got := read(&Config{MaxMessage: 4096}, true, []byte(c.in), sizes...)
			if got.err != c.err && (c.err != nil || got.err != nil) || !slices.Equal(got.events, c.events) {
				t.Errorf("%s, in pieces of %v: %.100q, error %v; want %.100q, %v", c.name, sizes, got.events, got.err, c.events, c.err)
			}
		}
	}
}

// pack compresses as another implementation would.
func pack(s string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 9)
	_, _ = w.Write([]byte(s)) // fails only when the buffer does
	_ = w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

// noise does not compress.
func noise(n int) []byte {
	p := make([]byte, n)
	for i, x := 0, uint32(1); i < len(p); i++ {
		x = x*1664525 + 1013904223
		p[i] = byte(x >> 24)
	}
	return p
}

func TestAppendCompressed(t *testing.T) {
	cases := []struct {
		name       string
		op         Opcode
		payload    []byte
		least      int
		compressed bool
	}{
		{"telemetry", Text, telemetry(1000), 256, true},
		{"below the least size", Text, telemetry(255), 256, false},
		{"empty", Text, nil, 0, false},
		{"noise", Binary, noise(600), 256, false},
		{"a ping", Ping, telemetry(100), 0, false},
		{"a window and more", Binary, telemetry(100_000), 256, true},
	}
	for _, c := range cases {
		before := []byte("before")
		server := AppendCompressed(before, c.op, c.payload, FullWindow, c.least)[len(before):]
		client := AppendMaskedCompressed(nil, c.op, c.payload, c.least, 0xA1B2C3D4)
		if got := server[0]&bitRSV1 != 0; got != c.compressed || client[0] != server[0] {
			t.Errorf("%s: compressed %v, first bytes %x and %x", c.name, got, server[0], client[0])
		}
		if len(server) > len(c.payload)+10 || len(client) != len(server)+4 {
			t.Errorf("%s: %d bytes became %d and %d", c.name, len(c.payload), len(server), len(client))
		}
		want := []string{ev(c.op, string(c.payload))}
		if got := read(&Config{Client: true}, true, server); got.err != nil || !slices.Equal(got.events, want) {
			t.Errorf("%s: the client reads %.100q, %v", c.name, got.events, got.err)
		}
		if got := read(&Config{}, true, client); got.err != nil || !slices.Equal(got.events, want) {
			t.Errorf("%s: the server reads %.100q, %v", c.name, got.events, got.err)
		}
	}
}

// RFC 7692 §7.1.2.1: nothing refers farther back than the window. What repeats after 600
// bytes compresses only in windows that reach so far.
func TestAppendCompressedInAWindow(t *testing.T) {
	payload := bytes.Repeat(noise(600), 2)
	for window := Window(0); window <= FullWindow; window++ {
		got := AppendCompressed(nil, Binary, payload, window, 0)
		if compressed := got[0]&bitRSV1 != 0; compressed != (window >= 10) {
			t.Errorf("window %d: compressed %v to %d bytes", window, compressed, len(got))
		}
	}
	text := telemetry(10_000)
	for window := Window(8); window <= FullWindow; window++ {
		out := AppendCompressed(nil, Text, text, window, 0)
		got := read(&Config{Client: true}, true, out)
		if out[0]&bitRSV1 == 0 || got.err != nil || !slices.Equal(got.events, []string{ev(Text, string(text))}) {
			t.Errorf("window %d: the client reads %.100q, %v", window, got.events, got.err)
		}
	}
}

// Any payload survives the round trip; any bytes inflate to at most the limit or fail.
func FuzzInflate(f *testing.F) {
	for _, s := range []string{"", "\x00", helloFixed, helloStored, helloFinal, helloTwo, helloFinal + helloFixed, pack(strings.Repeat("a", 5000))} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		cfg := &Config{MaxMessage: 4096}
		if len(p) <= 4096 {
			want := []string{ev(Binary, string(p))}
			if got := read(cfg, true, AppendMaskedCompressed(nil, Binary, p, 0, 7)); got.err != nil || !slices.Equal(got.events, want) {
				t.Fatalf("round trip: %q, %v", got.events, got.err)
			}
			small := &Config{Client: true, MaxMessage: 4096}
			if got := read(small, true, AppendCompressed(nil, Binary, p, 8, 0)); got.err != nil || !slices.Equal(got.events, want) {
				t.Fatalf("round trip in a small window: %q, %v", got.events, got.err)
			}
		}
		stream := []byte(frame(rsv1, Binary, string(p)))
		var r Reader
		r.Init(cfg, true)
		defer r.Release()
		if _, e, err := r.Next(stream); len(e.Payload) > 4096 || err == nil && e.Op != Binary {
			t.Fatalf("%d bytes, op %d, error %v", len(e.Payload), e.Op, err)
		}
	})
}
