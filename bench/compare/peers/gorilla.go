package main

import (
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
)

// serveGorilla follows the package's advice on buffers: a read buffer of the size of a usual message
// instead of the 4 KiB of net/http, a pool of write buffers, and a PreparedMessage.
func serveGorilla(l net.Listener) error {
	s := &gorillaServer{upgrader: websocket.Upgrader{
		ReadBufferSize:  512,
		WriteBufferSize: 512,
		WriteBufferPool: new(sync.Pool),
	}}
	var err error
	if s.prepared, err = websocket.NewPreparedMessage(websocket.BinaryMessage, announcement); err != nil {
		return err
	}
	return http.Serve(l, s)
}

type gorillaServer struct {
	upgrader websocket.Upgrader
	prepared *websocket.PreparedMessage
	crowd    crowd[*gorillaConn]
}

// gorillaConn adds the lock that the package requires if several goroutines write.
type gorillaConn struct {
	*websocket.Conn
	mu sync.Mutex
}

func (s *gorillaServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	go s.serve(&gorillaConn{Conn: conn}) // the handler returns, so that its stack is free
}

func (s *gorillaServer) serve(c *gorillaConn) {
	s.crowd.add(c)
	defer func() { s.crowd.remove(c); _ = c.Close() }()
	for {
		kind, r, err := c.NextReader()
		if err != nil || s.answer(c, kind, r) != nil {
			return
		}
	}
}

func (s *gorillaServer) answer(c *gorillaConn, kind int, r io.Reader) error {
	m := messages.Get().(*message)
	defer messages.Put(m)
	n, err := io.ReadFull(r, m[:])
	if err != io.ErrUnexpectedEOF && err != io.EOF { // the benchmark sends no message that fills the buffer
		return io.ErrShortBuffer
	}
	if kind == websocket.BinaryMessage && isBroadcast(m[:n]) {
		s.crowd.each(func(c *gorillaConn) {
			c.mu.Lock()
			defer c.mu.Unlock()
			_ = c.WritePreparedMessage(s.prepared)
		})
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.WriteMessage(kind, m[:n])
}
