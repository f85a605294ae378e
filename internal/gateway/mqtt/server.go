// Package mqtt is the gateway's side of MQTT 3.1, 3.1.1 and 5, over TCP, TLS and WebSocket: it does what the packets
// ask for, which internal/wire/mqtt decodes, and makes packets of a session's messages.
package mqtt

import (
	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/gateway/ws"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/mqtt"
)

// Config has the options of a Server. gateway.MQTT describes them and sets the defaults.
type Config struct {
	TopicAliases    int
	ServerReference string
}

// Server is what the MQTT connections of a node share. Static after construction.
type Server struct {
	Config
	Door       *door.Door
	first      websocket.Config // limits until CONNECT is accepted
	frames     websocket.Config
	publishers [2][2]encoders // for 3.1.1 and 5, over TCP and WebSocket
}

// New makes a Server.
func New(config Config, d *door.Door) *Server {
	return &Server{
		Config:     config,
		Door:       d,
		first:      websocket.Config{MaxMessage: 2 * d.Config.HeaderBytes}, // CONNECT, and other packets in the same message
		frames:     websocket.Config{MaxMessage: 2 * d.Config.MaxPayload},  // the largest packet, and others in the same message
		publishers: newEncoders(),
	}
}

// Shard is what a loop keeps for its MQTT connections. Owned by the loop.
type Shard struct {
	*door.Shard
	server  *Server
	packet  mqtt.Packet // reused for each packet
	uplink  wire.Packet // made from packet, reused
	scratch []byte      // reused for each packet
}

// maxScratch is the size of the largest buffer that a loop keeps.
const maxScratch = 64 << 10

// NewShard makes the Shard of a loop.
func (srv *Server) NewShard(s *door.Shard) *Shard { return &Shard{Shard: s, server: srv} }

// Subprotocols are the names of MQTT over WebSocket: that of MQTT 5 §6 [MQTT-6.0.0-3], and that of clients of 3.1.
var Subprotocols = []string{subprotocol, "mqttv3.1"}

const subprotocol = "mqtt"

// Paths are where MQTT clients connect over WebSocket.
var Paths = []string{"/mqtt", "/ws", "/"}

// Take accepts the handshake of a connection that asks for MQTT over WebSocket, and returns its handler.
func (s *Shard) Take(u *ws.Upgrade) reactor.Handler {
	c := &Socket{Device: Device{Conn: s.NewConn(u.Transport), shard: s}}
	c.carrier = c
	c.more().opening = &opening{credentials: u.Credentials, named: u.Named}
	c.ws.Upgrade(c, u.Request, &s.server.first, u.Subprotocol, false)
	return c
}
