package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	coder "github.com/coder/websocket"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
)

const echoTimeout = 60 * time.Second

// startEcho serves echo on two loops.
func startEcho(t *testing.T) *Echo {
	t.Helper()
	g, err := StartEcho(EchoConfig{Listen: "127.0.0.1:0", Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// dialEcho connects an independent client.
func dialEcho(t *testing.T, g *Echo, mode coder.CompressionMode) (*coder.Conn, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), echoTimeout)
	t.Cleanup(cancel)
	c, _, err := coder.Dial(ctx, "ws://"+g.Addr().String()+"/any/path", &coder.DialOptions{CompressionMode: mode})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	c.SetReadLimit(echoMaxMessage + 1)
	return c, ctx
}

// rawPeer is a client that sends bytes as it likes and reads unmasked frames.
type rawPeer struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func dialRaw(t *testing.T, g *Echo, header string) *rawPeer {
	t.Helper()
	c, err := net.Dial("tcp", g.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(echoTimeout))
	p := &rawPeer{c, t, bufio.NewReader(c)}
	p.send([]byte("GET / HTTP/1.1\r\nHost: echo\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + header + "\r\n"))
	for line := "-"; line != "\r\n"; {
		if line, err = p.r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p *rawPeer) send(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// frame masks payload under a header with the first byte as given.
func frame(first byte, payload string) []byte {
	b := websocket.AppendMaskedFrame(nil, websocket.Opcode(first&0xF), []byte(payload), 0xA1B2C3D4)
	b[0] = first
	return b
}

// next reads one frame.
func (p *rawPeer) next() (first byte, payload []byte) {
	p.t.Helper()
	var h [10]byte
	p.fill(h[:2])
	n := uint64(h[1])
	switch h[1] {
	case 126:
		p.fill(h[2:4])
		n = uint64(binary.BigEndian.Uint16(h[2:4]))
	case 127:
		p.fill(h[2:10])
		n = binary.BigEndian.Uint64(h[2:10])
	}
	payload = make([]byte, n)
	p.fill(payload)
	return h[0], payload
}

func (p *rawPeer) fill(b []byte) {
	p.t.Helper()
	if _, err := io.ReadFull(p.r, b); err != nil {
		p.t.Fatal(err)
	}
}

func (p *rawPeer) want(first byte, payload string) {
	p.t.Helper()
	if f, got := p.next(); f != first || string(got) != payload {
		p.t.Fatalf("got frame %#x %.40q, want %#x %.40q", f, got, first, payload)
	}
}

// ends wants the server to end the stream while the peer's half is still open.
func (p *rawPeer) ends() {
	p.t.Helper()
	if b, err := p.r.ReadByte(); err != io.EOF {
		p.t.Fatalf("the stream goes on: byte %#x, %v", b, err)
	}
}

func TestEchoOfMessages(t *testing.T) {
	noise := make([]byte, echoMaxMessage)
	for i := 0; i < len(noise); i += 8 {
		binary.LittleEndian.PutUint64(noise[i:], rand.Uint64())
	}
	prose := []byte(strings.Repeat("Grüße, 世界! ", 1<<16))
	modes := map[string]coder.CompressionMode{
		"plain":            coder.CompressionDisabled,
		"deflate":          coder.CompressionNoContextTakeover,
		"deflate, context": coder.CompressionContextTakeover, // which the server declines to keep
	}
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			c, ctx := dialEcho(t, startEcho(t), mode)
			for _, n := range []int{0, 1, 125, 126, 65535, 65536, echoMaxMessage} {
				roundTrip(t, ctx, c, coder.MessageBinary, noise[:n])
			}
			roundTrip(t, ctx, c, coder.MessageText, prose)
			roundTrip(t, ctx, c, coder.MessageText, nil)
			if err := c.Close(coder.StatusNormalClosure, ""); err != nil {
				t.Error(err)
			}
		})
	}
}

func roundTrip(t *testing.T, ctx context.Context, c *coder.Conn, kind coder.MessageType, want []byte) {
	t.Helper()
	written := make(chan error, 1)
	go func() { written <- c.Write(ctx, kind, want) }()
	k, got, err := c.Read(ctx)
	if err != nil || k != kind || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes came back as %d of kind %v: %v", len(want), len(got), k, err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
}

func TestEchoCompresses(t *testing.T) {
	p := dialRaw(t, startEcho(t), "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n")
	text := strings.Repeat("longline ", 500)
	for range 2 { // the second must not refer to the first
		p.send(websocket.AppendMaskedCompressed(nil, websocket.Text, []byte(text), 0, 7))
		if first, body := p.next(); first != 0xC1 || len(body) > 200 {
			t.Errorf("the echo has first byte %#x and %d bytes", first, len(body))
		}
	}
	p.send(frame(0x81, "short"))
	p.want(0x81, "short")
}

// RFC 6455 §5.4: control frames come between the fragments of a message.
func TestEchoOfFragments(t *testing.T) {
	all := bytes.Join([][]byte{
		frame(0x01, "Gr\xC3"), frame(0x89, "one"), frame(0x00, "\xBC"), frame(0x8A, "unasked"),
		frame(0x00, ""), frame(0x89, ""), frame(0x80, "\xC3\x9Fe"), frame(0x82, "next"),
	}, nil)
	for _, step := range []int{len(all), 1, 3} {
		p := dialRaw(t, startEcho(t), "")
		for b := all; len(b) > 0; b = b[min(step, len(b)):] {
			p.send(b[:min(step, len(b))])
		}
		p.want(0x8A, "one")
		p.want(0x8A, "")
		p.want(0x81, "Grüße")
		p.want(0x82, "next")
	}
}

// RFC 6455 §5.5.1, §7.1.1: a close frame is answered with its code, then the server ends
// the stream first.
func TestEchoOfClose(t *testing.T) {
	g := startEcho(t)
	for sent, answer := range map[string]string{
		"":                   "",
		"\x03\xE8":           "\x03\xE8",
		"\x03\xF3bye":        "\x03\xF3",
		"\x13\x87" + "Grüße": "\x13\x87",
	} {
		p := dialRaw(t, g, "")
		p.send(append(frame(0x88, sent), frame(0x89, "too late")...))
		p.want(0x88, answer)
		p.ends()
	}
}

func TestEchoOfBrokenRules(t *testing.T) {
	g := startEcho(t)
	tests := []struct {
		name string
		sent []byte
		code uint16
	}{
		{"reserved bit", frame(0xA1, "x"), 1002},
		{"RSV1 without deflate", frame(0xC1, "x"), 1002},
		{"reserved opcode", frame(0x83, ""), 1002},
		{"reserved control opcode", frame(0x8B, ""), 1002},
		{"no mask", []byte{0x81, 1, 'x'}, 1002},
		{"long ping", frame(0x89, strings.Repeat("x", 126)), 1002},
		{"fragmented ping", frame(0x09, ""), 1002},
		{"continuation of nothing", frame(0x80, "x"), 1002},
		{"message in a message", append(frame(0x01, "x"), frame(0x81, "y")...), 1002},
		{"half a close code", frame(0x88, "\x03"), 1002},
		{"close code 1005", frame(0x88, "\x03\xED"), 1002},
		{"close reason not UTF-8", frame(0x88, "\x03\xE8\xFF"), 1007},
		{"text not UTF-8", frame(0x81, "\xC0\xAF"), 1007},
		{"text not UTF-8, before its end", frame(0x01, "\xED\xA0"), 1007},
		{"too big, before it comes", []byte{0x82, 0xFF, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0}, 1009},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := dialRaw(t, g, "")
			p.send(append(frame(0x81, "before"), test.sent...))
			p.want(0x81, "before")
			first, body := p.next()
			if first != 0x88 || len(body) < 3 || binary.BigEndian.Uint16(body) != test.code {
				t.Errorf("got frame %#x %q, want a close of %d with a reason", first, body, test.code)
			}
			p.ends()
		})
	}
}

func TestEchoBroadcast(t *testing.T) {
	g := startEcho(t)
	var peers []*rawPeer
	for spread := 0; spread < 2; { // until every loop has some: the kernel spreads by port
		peers = append(peers, dialRaw(t, g, ""))
		if len(peers) > 200 {
			t.Fatal("200 connections are on one loop")
		}
		spread = 0
		for _, n := range openByLoop(g) {
			if n > 0 {
				spread++
			}
		}
	}
	peers[0].send(append(frame(0x82, "B"), frame(0x81, "B")...))
	peers[0].want(0x81, "B") // text is only echoed
	for _, p := range peers {
		p.want(0x82, strings.Repeat("b", 128))
	}
}

func openByLoop(g *Echo) []int {
	open := make([]int, len(g.group.Loops()))
	g.group.Each(func(l *reactor.Loop) { open[l.Index()] = l.Open() })
	return open
}

func TestEchoOfManyConnections(t *testing.T) {
	g := startEcho(t)
	var wg sync.WaitGroup
	for i := range 100 {
		c, ctx := dialEcho(t, g, coder.CompressionDisabled)
		wg.Go(func() {
			for n := range 50 {
				want := bytes.Repeat([]byte{byte(i)}, n*i)
				if err := c.Write(ctx, coder.MessageBinary, want); err != nil {
					t.Error(err)
					return
				}
				if _, got, err := c.Read(ctx); err != nil || !bytes.Equal(got, want) {
					t.Errorf("connection %d, message %d: the echo differs (%v)", i, n, err)
					return
				}
			}
			_ = c.Close(coder.StatusNormalClosure, "")
		})
	}
	wg.Wait()
}

// A peer that does not read is not read: what is pending for it stays bounded, and arrives
// in full when it reads again.
func TestEchoOfAPeerThatDoesNotRead(t *testing.T) {
	const messages, size = 48, 1 << 20
	g := startEcho(t)
	p := dialRaw(t, g, "")
	sent := make(chan error, 1)
	go func() {
		var err error
		for i := range messages {
			_, e := p.Write(frame(0x82, strings.Repeat(string(rune('A'+i)), size)))
			err = errors.Join(err, e)
		}
		sent <- err
	}()
	const limit = 3 * size // what filled the socket, what came late, and the message after
	for in, still := uint64(0), 0; in == 0 || still < 50; {
		s := g.group.Stats() // a turn of the loop, which would read
		if still++; s.BytesIn != in {
			in, still = s.BytesIn, 0
		}
		if pending := pendingOf(g); pending > limit {
			t.Fatalf("%d bytes are pending, want at most %d", pending, limit)
		}
	}
	for i := range messages {
		p.want(0x82, strings.Repeat(string(rune('A'+i)), size))
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if pending := pendingOf(g); pending != 0 {
		t.Errorf("at the end %d bytes are pending", pending)
	}
}

// pendingOf looks at the only connection.
func pendingOf(g *Echo) (pending int) {
	g.group.Each(func(l *reactor.Loop) {
		l.Handlers(func(h reactor.Handler) bool {
			pending = h.(*echo).conn.Pending()
			return false
		})
	})
	return pending
}
