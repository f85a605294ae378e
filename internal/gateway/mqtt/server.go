// Package mqtt is the gateway's side of MQTT 3.1, 3.1.1 and 5, over TCP, TLS and WebSocket: what a connection means by
// its packets, which internal/wire/mqtt decodes, and how a session's messages become packets.
package mqtt

import (
	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/gateway/ws"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/mqtt"
)

// Config is what a Server is told. The gateway's options, whose defaults are set, have the words for it.
type Config struct {
	TopicAliases    int
	ServerReference string
}

// Server is what the MQTT connections of a node share. Static after construction.
type Server struct {
	Config
	Door       *door.Door
	first      websocket.Config // until CONNECT is accepted
	frames     websocket.Config
	publishers [2][2]encoders // of 3.1.1 and 5; over TCP and WebSocket
}

// New makes a Server.
func New(config Config, d *door.Door) *Server {
	return &Server{
		Config:     config,
		Door:       d,
		first:      websocket.Config{MaxMessage: 2 * d.Config.HeaderBytes}, // CONNECT, and others beside it
		frames:     websocket.Config{MaxMessage: 2 * d.Config.MaxPayload},  // the largest packet, and others beside it
		publishers: newEncoders(),
	}
}

// Shard is what a loop keeps for its MQTT connections. Owned by the loop.
type Shard struct {
	*door.Shard
	server  *Server
	packet  mqtt.Packet // decoded into, again and again
	uplink  wire.Packet // made of packet, again and again
	scratch []byte      // encoded into, again and again
}

// maxScratch is the largest packet for which a loop keeps room.
const maxScratch = 64 << 10

// NewShard makes that of a loop.
func (srv *Server) NewShard(s *door.Shard) *Shard { return &Shard{Shard: s, server: srv} }

// Subprotocols are MQTT's over WebSocket, MQTT 5 §6 [MQTT-6.0.0-3], and one that clients of 3.1
// have.
var Subprotocols = []string{subprotocol, "mqttv3.1"}

const subprotocol = "mqtt"

// Paths are where MQTT clients expect it over WebSocket.
var Paths = []string{"/mqtt", "/ws", "/"}

// Take makes the handler of a connection that asks for MQTT over WebSocket, and accepts its
// handshake.
func (s *Shard) Take(u *ws.Upgrade) reactor.Handler {
	c := &Socket{Device: Device{Conn: s.NewConn(u.Transport), shard: s}}
	c.carrier = c
	c.more().opening = &opening{credentials: u.Credentials, named: u.Named}
	c.ws.Upgrade(c, u.Request, &s.server.first, u.Subprotocol, false)
	return c
}
