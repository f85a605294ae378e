// Package ws is the gateway's side of WebSocket: the opening handshake, frames, and devices that speak the protocols
// of internal/wire. Another protocol over WebSocket, such as MQTT, gets its connections from here (Other) and has a
// Socket of its own.
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

// Config has the options of a Server. gateway.Config describes them and sets the defaults.
type Config struct {
	Origins         []string
	Paths           []string
	HeaderFields    int
	Compression     bool
	CompressAbove   int
	DefaultProtocol string
	RawProtocols    []string
	Dialects        []Dialect
	Forwarded       proxyproto.Trusted // proxies whose X-Forwarded-For is believed
	Other           Other
	Nodes           func() []byte // returns the JSON of nodesPath without blocking; nil does not answer there
}

// Validate returns what is wrong with the protocols.
func (c Config) Validate() error {
	all, err := newProtocols(c.RawProtocols, c.Dialects, c.CompressAbove)
	if err != nil {
		return fmt.Errorf("raw_protocols: %w", err)
	}
	if all.find([]byte(c.DefaultProtocol)) == nil {
		return fmt.Errorf("default_protocol: %q is not known: want one of %s", c.DefaultProtocol, all.names())
	}
	return nil
}

// Other is another protocol over WebSocket, which has connections of its own.
type Other struct {
	Names []string // its subprotocols
	Paths []string // the paths of its clients: other names of /connect
	// Take accepts the handshake of a connection that asks for the protocol, and returns its handler. On the loop.
	Take func(*Upgrade) reactor.Handler
}

// Upgrade is a handshake that asks for another protocol. The request is borrowed.
type Upgrade struct {
	Transport   *reactor.Conn
	Request     *websocket.Request
	Subprotocol string // the name for the answer
	Credentials *auth.Credentials
	Named       bool // the URL names the device
}

// Server is what the WebSocket connections of a node share. Static after construction.
type Server struct {
	Config
	Door           *door.Door
	limits         websocket.Limits
	frames         websocket.Config
	protocols      protocols
	normal         *protocol // for a device that offers none
	paths          []string  // the paths before a device's ID, the longest first
	notFoundAnswer *websocket.HTTPError
}

// New makes a Server. The configuration is valid.
func New(config Config, d *door.Door) *Server {
	srv := &Server{
		Config: config,
		Door:   d,
		limits: websocket.Limits{Bytes: d.Config.HeaderBytes, Fields: config.HeaderFields},
		frames: websocket.Config{MaxMessage: d.Config.MaxPayload},
	}
	srv.protocols, _ = newProtocols(config.RawProtocols, config.Dialects, config.CompressAbove)
	srv.normal = srv.protocols.find([]byte(config.DefaultProtocol))
	srv.paths = append(srv.paths, connectPath)
	for _, p := range config.Paths {
		srv.paths = append(srv.paths, strings.TrimSuffix(p, "/"))
	}
	srv.notFoundAnswer = notFound(srv.paths, config.Other.Paths)
	slices.SortFunc(srv.paths, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return srv
}

// Shard is what a loop keeps for its devices. Owned by the loop.
type Shard struct {
	*door.Shard
	server  *Server
	packet  wire.Packet // reused for each packet
	scratch []byte      // reused for each packet
}

// NewShard makes the Shard of a loop.
func (srv *Server) NewShard(s *door.Shard) *Shard { return &Shard{Shard: s, server: srv} }

// other returns the subprotocol by which a device asks for Config.Other. It is empty if the device offers none of its
// names, or one of the package's own protocols before.
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

// handOver gives the connection to Config.Other. The other protocol or the URL names the device; either may have
// credentials, and those of the protocol win.
func (d *Device) handOver(req *websocket.Request, subprotocol string) *websocket.HTTPError {
	srv := d.shard.server
	if !srv.mayComeFrom(req.Origin) {
		return originRefused()
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

func originRefused() *websocket.HTTPError {
	return &websocket.HTTPError{Status: 403, Reason: "Pages of this origin may not connect."}
}
