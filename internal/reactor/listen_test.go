package reactor

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// Each address has handlers of its own, with TLS or without, and a handler may hand the
// connection to another.
func TestListeners(t *testing.T) {
	cert, pool := certificate(t)
	workers := NewWorkers(1, 1)
	says := func(word string) func(*Loop) Handler {
		return func(*Loop) Handler {
			return &echo{onData: func(c *Conn, p []byte) int {
				c.Write([]byte(word))
				c.Become(&echo{})
				return 1
			}}
		}
	}
	g := serve(t, Config{
		TLS:  &TLSConfig{Config: &tls.Config{Certificates: []tls.Certificate{cert}}, Handshakes: workers},
		Also: []Listener{{"plain", "127.0.0.1:0", says("plain "), false}, {"other", "127.0.0.1:0", says("other "), true}},
	}, says("first "))
	t.Cleanup(func() { g.Close(); workers.Close() })
	config := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
	for i, word := range []string{"first ", "plain ", "other "} {
		c, err := net.Dial("tcp", g.AddrOf(i).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if i != 1 {
			c = tls.Client(c, config)
		}
		if _, err := c.Write([]byte("ab")); err != nil {
			t.Fatal(err)
		}
		expect(t, c, word+"b") // the next handler's
	}
	if g.AddrOf(3).IsValid() {
		t.Error("a fourth address")
	}
	g.StopListening()
	for i := range 3 {
		if c, err := net.Dial("tcp", g.AddrOf(i).String()); err == nil {
			_ = c.Close()
			t.Errorf("listener %d is still there", i)
		}
	}
}

func expect(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("%q, %v; want %q", got, err, want)
	}
}

// Above its room, a loop closes new connections without reading them, and accepts connections again when others have
// ended.
func TestCrowd(t *testing.T) {
	ended := make(chan error, 4*strangers)
	g := serve(t, Config{Loops: 1, MaxConnections: 8}, func(*Loop) Handler {
		return &echo{closed: func(_ *Conn, err error) { ended <- err }}
	})
	conns := make([]net.Conn, g.room())
	for i := range conns {
		conns[i] = connect(t, g)
		write(t, conns[i], "x")
		expect(t, conns[i], "x")
	}
	last := connect(t, g)
	if n, err := last.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("one more was heard")
	}
	if s := g.Stats(); s.Crowded != 1 || s.Open != len(conns) {
		t.Errorf("%+v", s)
	}
	_ = conns[0].Close()
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("ended with %v", err)
	}
	write(t, conns[1], "y")
	expect(t, conns[1], "y")
	next := connect(t, g)
	write(t, next, "z")
	expect(t, next, "z")
}
