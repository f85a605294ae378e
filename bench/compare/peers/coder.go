package main

import (
	"context"
	"io"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// serveCoder reads with Reader into a borrowed buffer. The library has no prepared messages.
func serveCoder(l net.Listener) error { return http.Serve(l, new(coderServer)) }

type coderServer struct{ crowd crowd[*websocket.Conn] }

func (s *coderServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	go s.serve(conn) // the handler returns, so that its stack is free
}

func (s *coderServer) serve(c *websocket.Conn) {
	s.crowd.add(c)
	defer func() { s.crowd.remove(c); _ = c.CloseNow() }()
	ctx := context.Background()
	for {
		kind, r, err := c.Reader(ctx)
		if err != nil || s.answer(ctx, c, kind, r) != nil {
			return
		}
	}
}

func (s *coderServer) answer(ctx context.Context, c *websocket.Conn, kind websocket.MessageType, r io.Reader) error {
	m := messages.Get().(*message)
	defer messages.Put(m)
	n, err := io.ReadFull(r, m[:])
	if err != io.ErrUnexpectedEOF && err != io.EOF { // the benchmark sends no message that fills the buffer
		return io.ErrShortBuffer
	}
	if kind == websocket.MessageBinary && isBroadcast(m[:n]) {
		s.crowd.each(func(c *websocket.Conn) { _ = c.Write(ctx, websocket.MessageBinary, announcement) })
		return nil
	}
	return c.Write(ctx, kind, m[:n])
}
