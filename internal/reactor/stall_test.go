package reactor

import (
	"bytes"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// narrow connects a peer whose kernel buffers few bytes.
func narrow(t *testing.T, g *Group) net.Conn {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10) })
		return err
	}}
	c, err := d.DialContext(t.Context(), "tcp", g.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// A handler that was told that there is no room is told when there is, also if the socket accepted everything at
// once.
func TestDrainedAfterFull(t *testing.T) {
	const limit, size = 100, 50
	drained := make(chan int, 1)
	g := serve(t, Config{Loops: 1}, func(*Loop) Handler {
		return &echo{
			opened: func(c *Conn) {
				for !c.Full(limit) {
					c.Write(make([]byte, size))
				}
				if c.Pending() != limit {
					t.Errorf("full with %d bytes", c.Pending())
				}
			},
			drained: func(c *Conn) { drained <- c.Pending() },
		}
	})
	c := connect(t, g)
	if n := await(t, drained, "OnDrained"); n != 0 {
		t.Errorf("drained with %d bytes pending", n)
	}
	if _, err := io.ReadFull(c, make([]byte, limit)); err != nil {
		t.Error(err)
	}
}

// Accepted sockets inherit the bound on what the kernel buffers.
func TestKernelHoldsLittle(t *testing.T) {
	const all = 8 << 20
	left := make(chan int, 1)
	g := serve(t, Config{Loops: 1}, func(*Loop) Handler {
		return &echo{onData: func(c *Conn, p []byte) int {
			if c.Pending() == 0 {
				c.Share(make([]byte, all))
			} else {
				left <- c.Pending()
			}
			return len(p)
		}}
	})
	c := narrow(t, g)
	for range 2 {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		g.Each(func(*Loop) {}) // a turn between them
		g.Each(func(*Loop) {})
	}
	const most = 256 << 10 // what is not sent, one segment of it, and the peer's buffer
	if n := await(t, left, "the second byte"); all-n > most {
		t.Errorf("the kernel has taken %d bytes, want at most %d", all-n, most)
	}
}

// A peer that reads nothing has stalled; one that reads little has not.
func TestStall(t *testing.T) {
	const stall = time.Second
	stalled := make(chan Handler, 2)
	slow, hung := &echo{}, &echo{}
	handlers := make(chan *echo, 2)
	handlers <- slow
	handlers <- hung
	g := serve(t, Config{Loops: 1, Stall: stall, OnStall: func(h Handler) { stalled <- h }}, func(*Loop) Handler {
		h := <-handlers
		h.opened = func(c *Conn) { c.Share(make([]byte, 4<<20)) }
		return h
	})
	c := narrow(t, g)
	tick := time.NewTicker(stall / 20)
	defer tick.Stop()
	quit := make(chan struct{})
	read := make(chan struct{})
	go func() {
		defer close(read)
		for p := make([]byte, 2<<10); ; {
			select {
			case <-tick.C:
			case <-quit:
				return
			}
			if _, err := c.Read(p); err != nil {
				return
			}
		}
	}()
	g.Each(func(*Loop) {})
	start := time.Now()
	narrow(t, g)
	if h := await(t, stalled, "the one that hangs"); h != Handler(hung) {
		t.Error("the one that reads has stalled")
	}
	if took := time.Since(start); took < stall {
		t.Errorf("found after %v, want %v", took, stall)
	}
	select {
	case <-stalled:
		t.Error("a peer that reads slowly has stalled")
	case <-time.After(stall):
	}
	close(quit)
	<-read
}

// What a peer sends without reading its answers stays in the kernel, and is read when the peer has
// read them.
func TestAnswersPileUpOnlySoFar(t *testing.T) {
	const size, count = 1 << 10, 8 << 10
	g := serve(t, Config{Loops: 1}, func(*Loop) Handler { return &echo{} })
	c := narrow(t, g)
	sent := make(chan error, 1)
	go func() {
		block := bytes.Repeat([]byte("x"), size)
		for range count {
			if _, err := c.Write(block); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	const most = 2*readBufferLen + lateBytes
	for in, still := uint64(0), 0; in == 0 || still < 50; {
		pending := 0
		g.Each(func(l *Loop) { // a turn of the loop, which would read
			for _, c := range l.conns {
				if c != nil {
					pending = c.Pending()
				}
			}
		})
		if pending > most {
			t.Fatalf("%d bytes are pending, want at most %d", pending, most)
		}
		if still++; g.Stats().BytesIn != in {
			in, still = g.Stats().BytesIn, 0
		}
	}
	if n, err := io.CopyN(io.Discard, c, size*count); err != nil {
		t.Fatalf("%d bytes came back: %v", n, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}
