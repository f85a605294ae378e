package main

import (
	"net"

	"github.com/lxzan/gws"
)

// serveGWS uses the library's own server, which has less to do for a handshake than
// net/http, and its Broadcaster.
func serveGWS(l net.Listener) error {
	return gws.NewServer(&gwsHandler{}, nil).RunListener(l)
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
