package gateway

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/gateway/ws"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

const (
	echoMaxMessage = 16 << 20
	echoCompress   = 64 // bytes below which an echo is not compressed
)

// EchoConfig has the options of an Echo. The zero value works, on any port.
type EchoConfig struct {
	Listen         string
	Loops          int // 0 means one per processor
	MaxConnections int // 0 means the limit of descriptors
	TLS            TLS
}

// Echo is a WebSocket echo server on the loops.
type Echo struct {
	group  *reactor.Group
	keeper *door.Keeper // nil without TLS
}

// StartEcho starts an echo server for conformance suites and benchmarks. It echoes text and binary messages up to 16
// MiB on any path, with permessage-deflate if the client offers it. The binary message "B" makes it send one shared
// frame of 128 bytes to every connection.
func StartEcho(config EchoConfig) (*Echo, error) {
	e := &echoServer{frame: websocket.AppendFrame(nil, websocket.Binary, bytes.Repeat([]byte{'b'}, 128))}
	e.config.MaxMessage = echoMaxMessage
	e.started = make(chan struct{})
	k, err := door.OpenKeeper(config.TLS)
	if err != nil {
		return nil, err
	}
	group, err := reactor.Start(reactor.Config{
		Listen:         config.Listen,
		TLS:            k.Reactor(),
		Loops:          config.Loops,
		MaxConnections: config.MaxConnections,
		NewHandler:     func(*reactor.Loop) reactor.Handler { return &echo{server: e} },
	})
	if err != nil {
		k.Close()
		return nil, err
	}
	e.group = group
	close(e.started)
	return &Echo{group, k}, nil
}

// Addr returns the address listened on.
func (e *Echo) Addr() netip.AddrPort { return e.group.Addr() }

// Close closes the connections and the listener.
func (e *Echo) Close() {
	e.group.Close()
	e.keeper.Close()
}

type echoServer struct {
	config  websocket.Config
	frame   []byte
	started chan struct{}
	group   *reactor.Group // set before started is closed
}

// broadcast sends the frame to every connection, by one post per loop.
func (e *echoServer) broadcast() {
	<-e.started
	for _, l := range e.group.Loops() {
		l.Post(reactor.TaskFunc(func(l *reactor.Loop) {
			l.Handlers(func(h reactor.Handler) bool {
				if c := h.(*echo); c.IsOpen() {
					c.conn.Share(e.frame)
				}
				return true
			})
		}))
	}
}

// echo is one connection.
type echo struct {
	ws.Socket
	conn   *reactor.Conn
	server *echoServer
}

func (c *echo) OnOpen(conn *reactor.Conn) {
	c.conn = conn
	conn.SetAlarm(10 * time.Second)
}

func (c *echo) OnData(_ *reactor.Conn, p []byte) int {
	return c.OnBytes(c, p, websocket.Limits{})
}

func (c *echo) OnAlarm(conn *reactor.Conn) {
	if !c.IsOpen() {
		conn.Close()
	}
}

func (c *echo) OnDrained(*reactor.Conn) {}

func (c *echo) OnClose(_ *reactor.Conn, err error) { c.Ended(c, err) }

func (c *echo) Open(req *websocket.Request) *websocket.HTTPError {
	c.Upgrade(c, req, &c.server.config, "", true)
	return nil
}

func (c *echo) Receive(payload []byte, text bool) error {
	op := websocket.Binary
	if text {
		op = websocket.Text
	} else if len(payload) == 1 && payload[0] == 'B' {
		c.server.broadcast()
		return nil
	}
	room := c.conn.Reserve(len(payload) + websocket.MaxHeader)
	c.conn.Commit(websocket.AppendCompressed(room, op, payload, c.Window(), echoCompress))
	return nil
}

func (c *echo) Plain(path string) *ws.PlainAnswer { return ws.HealthAnswer(path, true) }

func (c *echo) Refused(*websocket.HTTPError) {}

func (c *echo) Left(*wire.Close) {}

func (c *echo) Transport() *reactor.Conn { return c.conn }
