package main

import (
	"bufio"
	"net"
	"net/http"

	"github.com/lxzan/gws"
)

// serveGWS does what the library's own Server does, whose handshake is cheaper than
// net/http's, but which ends with its listener. It uses the library's Broadcaster.
func serveGWS(l net.Listener) error {
	u := gws.NewUpgrader(&gwsHandler{}, nil)
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go readGWS(u, conn)
	}
}

func readGWS(u *gws.Upgrader, conn net.Conn) {
	br := bufio.NewReaderSize(conn, 4<<10) // the library's default; the connection keeps it
	r, err := http.ReadRequest(br)
	if err != nil {
		_ = conn.Close()
		return
	}
	if c, err := u.UpgradeFromConn(conn, br, r); err == nil {
		c.ReadLoop()
	}
}

type gwsHandler struct {
	gws.BuiltinEventHandler
	crowd crowd[*gws.Conn]
}

func (h *gwsHandler) OnOpen(c *gws.Conn) { h.crowd.add(c) }

func (h *gwsHandler) OnClose(c *gws.Conn, _ error) { h.crowd.remove(c) }

func (h *gwsHandler) OnMessage(c *gws.Conn, m *gws.Message) {
	defer func() { _ = m.Close() }()
	if m.Opcode == gws.OpcodeBinary && isBroadcast(m.Bytes()) {
		b := gws.NewBroadcaster(gws.OpcodeBinary, announcement)
		defer func() { _ = b.Close() }()
		h.crowd.each(func(c *gws.Conn) { _ = b.Broadcast(c) })
		return
	}
	_ = c.WriteMessage(m.Opcode, m.Bytes())
}
