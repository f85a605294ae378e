package websocket

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// outcome is the result of a peer's bytes: the events, one line each, and the error.
type outcome struct {
	events []string
	err    error
}

// read passes stream to a Reader as a loop would, split after each of the sizes in turn.
func read(cfg *Config, deflate bool, stream []byte, sizes ...int) (o outcome) {
	var r Reader
	r.Init(cfg, deflate)
	defer r.Release()
	var pending []byte
	for i := 0; len(stream) > 0; i++ {
		size := len(stream)
		if len(sizes) > 0 {
			size = min(size, max(1, sizes[i%len(sizes)]))
		}
		pending = append(pending, stream[:size]...)
		stream = stream[size:]
		for {
			n, ev, err := r.Next(pending)
			pending = pending[n:]
			if err != nil {
				o.err = err
				return o
			}
			if ev.Op == 0 {
				break
			}
			o.events = append(o.events, fmt.Sprintf("%d %d %x", ev.Op, ev.Code, ev.Payload))
		}
		if len(pending) >= MaxHeader {
			o.err = fmt.Errorf("left %d bytes unread", len(pending))
			return o
		}
	}
	return o
}

func ev(op Opcode, payload string) string { return fmt.Sprintf("%d 0 %x", op, payload) }

func closed(code uint16, reason string) string {
	return fmt.Sprintf("%d %d %x", Close, code, reason)
}

// frame returns a client's frame. flags are FIN and the reserved bits as on the wire.
func frame(flags byte, op Opcode, payload string) string {
	const key = 0x37FA213D
	b := appendMaskedHeader(nil, flags|byte(op), len(payload), key)
	at := len(b)
	b = append(b, payload...)
	mask(b[at:], key)
	return string(b)
}

func fin(op Opcode, payload string) string  { return frame(bitFin, op, payload) }
func part(op Opcode, payload string) string { return frame(0, op, payload) }

// codePoint is U+1F600 in UTF-8.
const codePoint = "\xf0\x9f\x98\x80"

// Autobahn|Testsuite's categories at the level of the codec. Every case is read as a whole, byte
// by byte, and in pieces.
func TestReader(t *testing.T) {
	long := strings.Repeat("*", 65536)
	cases := []struct {
		name   string
		in     string
		events []string
		err    error
	}{
		{"1.1.1 empty text", fin(Text, ""), []string{ev(Text, "")}, nil},
		{"1.1.2 text of 125", fin(Text, long[:125]), []string{ev(Text, long[:125])}, nil},
		{"1.1.3 text of 126", fin(Text, long[:126]), []string{ev(Text, long[:126])}, nil},
		{"1.1.6 text of 65535", fin(Text, long[:65535]), []string{ev(Text, long[:65535])}, nil},
		{"1.2.7 binary of 65536", fin(Binary, long), []string{ev(Binary, long)}, nil},

		{"2.1 empty ping", fin(Ping, ""), []string{ev(Ping, "")}, nil},
		{"2.3 binary ping", fin(Ping, "\x00\xff\xfe"), []string{ev(Ping, "\x00\xff\xfe")}, nil},
		{"2.4 ping of 125", fin(Ping, long[:125]), []string{ev(Ping, long[:125])}, nil},
		{"2.5 ping of 126", fin(Ping, long[:126]), nil, ErrControlTooLong},
		{"2.7 pong", fin(Pong, "x") + fin(Ping, "y"), []string{ev(Pong, "x"), ev(Ping, "y")}, nil},

		{"3.1 RSV3", frame(bitFin|0x10, Text, "a"), nil, ErrReservedBits},
		{"3.2 RSV2 after a message", fin(Text, "a") + frame(bitFin|0x20, Text, "b"), []string{ev(Text, "a")}, ErrReservedBits},
		{"3.3 RSV1 without the extension", frame(bitFin|bitRSV1, Text, "a"), nil, ErrReservedBits},
		{"3.4 all", frame(bitFin|bitsRSV, Ping, ""), nil, ErrReservedBits},

		{"4.1.1 opcode 3", fin(3, ""), nil, ErrReservedOpcode},
		{"4.1.5 opcode 7", fin(7, "a"), nil, ErrReservedOpcode},
		{"4.2.1 opcode 11", fin(11, ""), nil, ErrReservedOpcode},
		{"4.2.5 opcode 15", fin(15, ""), nil, ErrReservedOpcode},

		{"5.1 ping in pieces", part(Ping, "a") + fin(Continuation, "b"), nil, ErrControlFragmented},
		{"5.3 text in two", part(Text, "ab") + fin(Continuation, "cd"), []string{ev(Text, "abcd")}, nil},
		{"5.6 a ping between", part(Text, "ab") + fin(Ping, "p") + fin(Continuation, "cd"), []string{ev(Ping, "p"), ev(Text, "abcd")}, nil},
		{"5.9 continuation of nothing", fin(Continuation, "a"), nil, ErrUnexpectedContinuation},
		{"5.12 unfinished continuation of nothing", part(Continuation, "a"), nil, ErrUnexpectedContinuation},
		{"5.15 continuation after the end", part(Text, "a") + fin(Continuation, "b") + fin(Continuation, "c"), []string{ev(Text, "ab")}, ErrUnexpectedContinuation},
		{"5.18 text inside a text", part(Text, "a") + fin(Text, "b"), nil, ErrInterleaved},
		{"5.19 pings between five", part(Text, "1") + part(Continuation, "2") + fin(Ping, "x") + part(Continuation, "3") + part(Continuation, "4") + fin(Ping, "y") + fin(Continuation, "5"),
			[]string{ev(Ping, "x"), ev(Ping, "y"), ev(Text, "12345")}, nil},
		{"empty fragments", part(Binary, "") + part(Continuation, "") + fin(Continuation, ""), []string{ev(Binary, "")}, nil},
		{"two fragmented messages", part(Text, "a") + fin(Continuation, "b") + part(Binary, "\xff") + fin(Continuation, ""), []string{ev(Text, "ab"), ev(Binary, "\xff")}, nil},

		{"6.2.1 a rune", fin(Text, codePoint), []string{ev(Text, codePoint)}, nil},
		{"6.2.3 a rune in four frames", part(Text, codePoint[:1]) + part(Continuation, codePoint[1:2]) + part(Continuation, codePoint[2:3]) + fin(Continuation, codePoint[3:]), []string{ev(Text, codePoint)}, nil},
		{"6.3.1 surrogate", fin(Text, "a\xed\xa0\x80"), nil, ErrInvalidUTF8},
		{"6.4.1 above U+10FFFF in the second frame", part(Text, "a") + part(Continuation, "\xf4\x90"), nil, ErrInvalidUTF8},
		{"6.6.1 half a rune", fin(Text, codePoint[:3]), nil, ErrInvalidUTF8},
		{"6.6.2 half a rune at the end of fragments", part(Text, "a") + fin(Continuation, codePoint[:2]), nil, ErrInvalidUTF8},
		{"6.8.1 five bytes", fin(Text, "\xf8\x88\x80\x80\x80"), nil, ErrInvalidUTF8},
		{"6.10 overlong", fin(Text, "\xc0\x80"), nil, ErrInvalidUTF8},
		{"binary needs none", fin(Binary, "\xff"), []string{ev(Binary, "\xff")}, nil},

		{"7.3.1 close", fin(Close, ""), []string{closed(CodeNoStatus, "")}, nil},
		{"7.3.2 half a code", fin(Close, "\x03"), nil, ErrClosePayload},
		{"7.3.3 a code", fin(Close, "\x03\xe8"), []string{closed(1000, "")}, nil},
		{"7.3.4 a reason", fin(Close, "\x03\xe8bye"), []string{closed(1000, "bye")}, nil},
		{"7.3.5 a reason of 123", fin(Close, "\x03\xe8"+long[:123]), []string{closed(1000, long[:123])}, nil},
		{"7.3.6 a reason of 124", fin(Close, "\x03\xe8"+long[:124]), nil, ErrControlTooLong},
		{"7.5.1 a reason not UTF-8", fin(Close, "\x03\xe8\xce\xba\xff"), nil, ErrCloseReason},
		{"a close inside a message", part(Text, "a") + fin(Close, "\x03\xe8"), []string{closed(1000, "")}, nil},

		{"not masked", "\x81\x01a", nil, ErrNotMasked},
		{"126 in 16 bits is the least", "\x82\xfe\x00\x7d\x00\x00\x00\x00", nil, ErrLengthEncoding},
		{"65536 in 64 bits is the least", "\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x00\x00", nil, ErrLengthEncoding},
		{"top bit", "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", nil, ErrLengthRange},

		{"9 as long as may be", fin(Binary, strings.Repeat(long, 2)), []string{ev(Binary, strings.Repeat(long, 2))}, nil},
		{"9 too long", fin(Binary, strings.Repeat(long, 2)+"x"), nil, ErrMessageTooBig},
		{"9 too long in fragments", part(Binary, long) + part(Continuation, long) + fin(Continuation, "x"), nil, ErrMessageTooBig},
		{"9 too long in a lie", "\x82\xff\x00\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", nil, ErrMessageTooBig},
	}
	cfg := &Config{MaxMessage: 2 * 65536}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, sizes := range [][]int{nil, {1}, {3, 7, 1}, {1000}} {
				got := read(cfg, false, []byte(c.in), sizes...)
				if got.err != c.err && (c.err != nil || got.err != nil) {
					t.Errorf("in pieces of %v: error %v, want %v", sizes, got.err, c.err)
				}
				if !slices.Equal(got.events, c.events) {
					t.Errorf("in pieces of %v: %.200q, want %.200q", sizes, got.events, c.events)
				}
			}
		})
	}
}

// Autobahn 7.7, 7.9 and 7.13.
func TestReaderCloseCodes(t *testing.T) {
	valid := []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999}
	invalid := []uint16{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535}
	for _, code := range append(valid, invalid...) {
		got := read(&Config{}, false, []byte(fin(Close, string([]byte{byte(code >> 8), byte(code)}))))
		if want := slices.Contains(valid, code); (got.err == nil) != want || !want && got.err != ErrCloseCode {
			t.Errorf("code %d: error %v, valid %v", code, got.err, want)
		}
	}
}

// Autobahn 6.4: text fails at the first byte that cannot be valid, inside an unfinished frame.
func TestReaderFailsFast(t *testing.T) {
	whole := fin(Text, "0123456789\xf4\x90\x80\x80 and much more")
	bad := len(whole) - len("\x80\x80 and much more") // just behind \x90
	for size := range bad + 1 {
		got := read(&Config{}, false, []byte(whole[:size]))
		if want := size == bad; (got.err == ErrInvalidUTF8) != want {
			t.Errorf("after %d bytes of %d: error %v", size, len(whole), got.err)
		}
	}
}

func TestReaderClient(t *testing.T) {
	cfg := &Config{Client: true}
	stream := AppendFrame(AppendClose(nil, 1001, "away"), Text, []byte("hello"))
	got := read(cfg, false, stream, 2)
	if want := []string{closed(1001, "away"), ev(Text, "hello")}; got.err != nil || !slices.Equal(got.events, want) {
		t.Errorf("got %+v, want %v", got, want)
	}
	if got := read(cfg, false, []byte(fin(Text, "a"))); got.err != ErrMasked {
		t.Errorf("masked frame: %v", got.err)
	}
}

func TestReaderMaxFrame(t *testing.T) {
	cfg := &Config{MaxFrame: 4}
	got := read(cfg, false, []byte(part(Text, "1234")+fin(Continuation, "5678")+fin(Text, "12345")))
	if want := []string{ev(Text, "12345678")}; got.err != ErrFrameTooBig || !slices.Equal(got.events, want) {
		t.Errorf("got %+v, want %v", got, want)
	}
}

// The payload of an unfragmented frame is a view of the caller's buffer; an idle Reader holds nothing.
func TestReaderBorrows(t *testing.T) {
	if size := unsafe.Sizeof(Reader{}); size > 32 {
		t.Errorf("a Reader has %d bytes", size)
	}
	var r Reader
	r.Init(&Config{}, false)
	p := []byte(fin(Text, "hello"))
	_, e, _ := r.Next(p)
	if &e.Payload[0] != &p[len(p)-5] {
		t.Error("the payload of a whole frame was copied")
	}
	p = []byte(fin(Text, "hello"))
	if _, _, err := r.Next(p[:8]); err != nil || r.message == nil {
		t.Fatalf("half a frame is not held, error %v", err)
	}
	if _, e, _ = r.Next(p[8:]); string(e.Payload) != "hello" {
		t.Fatalf("got %q", e.Payload)
	}
	if n, _, _ := r.Next(nil); n != 0 || r.message != nil || r.control != nil {
		t.Error("what was lent is not given back at the next call")
	}
	if _, _, err := r.Next([]byte(part(Text, "a") + fin(Ping, "half")[:8])); err != nil || r.message == nil || r.control == nil {
		t.Fatalf("two halves are not held, error %v", err)
	}
	if r.Release(); r.message != nil || r.control != nil {
		t.Error("Release leaves something borrowed")
	}
}

// A declared length alone allocates nothing.
func TestReaderGrowsAsBytesArrive(t *testing.T) {
	var r Reader
	r.Init(&Config{MaxMessage: 1 << 30}, false)
	defer r.Release()
	header := appendMaskedHeader(nil, bitFin|byte(Binary), 1<<30, 0)
	if _, _, err := r.Next(append(header, bytes.Repeat([]byte{1}, 1000)...)); err != nil {
		t.Fatal(err)
	}
	if c := cap(r.message.buf); c > 2048 {
		t.Errorf("1000 bytes of 1 GiB hold %d", c)
	}
}
