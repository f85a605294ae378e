// Package ws is the gateway's side of WebSocket: the opening handshake and what it asks for, frames, and the devices
// that speak the protocols of internal/wire in them. Others that are spoken over WebSocket, such as MQTT, get their
// connections from here (Other) and have a Socket of their own.
package ws

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/proxyproto"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

// Config is what a Server is told. The gateway's options, whose defaults are set, have the words for it.
type Config struct {
	Origins         []string
	Paths           []string
	HeaderFields    int
	Compression     bool
	CompressAbove   int
	DefaultProtocol string
	RawProtocols    []string
	Forwarded       proxyproto.Trusted // proxies whose X-Forwarded-For is believed
	Other           Other
}

// Validate says what is wrong with the protocols.
func (c Config) Validate() error {
	all, err := newProtocols(c.RawProtocols, c.CompressAbove)
	if err != nil {
		return fmt.Errorf("raw_protocols: %w", err)
	}
	if all.find([]byte(c.DefaultProtocol)) == nil {
		return fmt.Errorf("default_protocol: %q is not spoken: known are %s", c.DefaultProtocol, all.names())
	}
	return nil
}

// Other is a protocol with connections of its own.
type Other struct {
	Names []string // its subprotocols
	Paths []string // where its clients expect it: other names of /connect
	// Take makes the handler of a connection that asks for it, and accepts the handshake. On the loop.
	Take func(*Upgrade) reactor.Handler
}

// Upgrade is a handshake that asks for another protocol. The request is borrowed.
type Upgrade struct {
	Transport   *reactor.Conn
	Request     *websocket.Request
	Subprotocol string // as it is named in the answer
	Credentials *auth.Credentials
	Named       bool // the URL names the device
}

// Server is what the WebSocket connections of a node share. Static after construction.
type Server struct {
	Config
	Door      *door.Door
	limits    websocket.Limits
	frames    websocket.Config
	protocols protocols
	normal    *protocol // of a device that offers none
	paths     []string  // those before a device's id, the longest first
	lost      *websocket.HTTPError
}

// New makes a Server. The configuration is valid.
func New(config Config, d *door.Door) *Server {
	srv := &Server{
		Config: config,
		Door:   d,
		limits: websocket.Limits{Bytes: d.Config.HeaderBytes, Fields: config.HeaderFields},
		frames: websocket.Config{MaxMessage: d.Config.MaxPayload},
	}
	srv.protocols, _ = newProtocols(config.RawProtocols, config.CompressAbove)
	srv.normal = srv.protocols.find([]byte(config.DefaultProtocol))
	srv.paths = append(srv.paths, connectPath)
	for _, p := range config.Paths {
		srv.paths = append(srv.paths, strings.TrimSuffix(p, "/"))
	}
	srv.lost = notFound(srv.paths, config.Other.Paths)
	slices.SortFunc(srv.paths, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return srv
}

// Shard is what a loop keeps for its devices. Owned by the loop.
type Shard struct {
	*door.Shard
	server  *Server
	packet  wire.Packet // decoded into, again and again
	scratch []byte      // encoded into, again and again
}

// NewShard makes that of a loop.
func (srv *Server) NewShard(s *door.Shard) *Shard { return &Shard{Shard: s, server: srv} }

// other is the subprotocol by which a device asks for Config.Other, or empty when it offers none, or one of the
// package's own first.
func (srv *Server) other(req *websocket.Request) string {
	for name := range req.Protocols {
		offered := string(name)
		switch {
		case slices.ContainsFunc(srv.Other.Names, func(n string) bool { return strings.EqualFold(n, offered) }):
			return offered
		case srv.protocols.find(name) != nil:
			return ""
		}
	}
	return ""
}

// handOver gives the connection to Config.Other. Who the device is, the protocol says, or already
// the URL; credentials of either count, and the protocol's first.
func (d *Device) handOver(req *websocket.Request, subprotocol string) *websocket.HTTPError {
	srv := d.shard.server
	if !srv.mayComeFrom(req.Origin) {
		return foreign()
	}
	if slices.Contains(srv.Other.Paths, string(tidyPath(req.Path))) {
		req.Path = []byte(connectPath)
	}
	t, refusal := srv.target(req)
	if refusal != nil {
		return refusal
	}
	conn := d.Transport()
	h := srv.Other.Take(&Upgrade{
		Transport:   conn,
		Request:     req,
		Subprotocol: subprotocol,
		Credentials: srv.credentials(conn, req, &t, subprotocol),
		Named:       t.device != "",
	})
	d.state = handed
	conn.Become(h)
	d.shard.Handshakes["accepted"]++
	return nil
}

func foreign() *websocket.HTTPError {
	return &websocket.HTTPError{Status: 403, Reason: "Pages of this origin may not connect."}
}
