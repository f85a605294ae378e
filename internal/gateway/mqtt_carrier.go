package gateway

import (
	"slices"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

// maxFraming is the most that a carrier adds to packets, in bytes.
const maxFraming = websocket.MaxHeader

// mqttStream is an MQTT connection over TCP or TLS, MQTT 5 §4.2.
type mqttStream struct{ mqttDevice }

// newMQTTStream is the handler of a connection that was accepted.
func newMQTTStream(s *shard) *mqttStream {
	t := &mqttStream{mqttDevice{connection: connection{shard: s}}}
	t.carrier = t
	return t
}

// OnData implements reactor.Handler.
func (t *mqttStream) OnData(_ *reactor.Conn, p []byte) int {
	n := t.consume(p)
	t.keeps(len(p) - n)
	t.afterRead(n, n < len(p) || t.skipping())
	return n
}

// frame implements carrier.
func (t *mqttStream) frame(dst, packets []byte) []byte { return append(dst, packets...) }

// pings implements carrier: MQTT's pings are the client's.
func (t *mqttStream) pings() bool { return false }

func (t *mqttStream) ping() {}

// unread implements carrier.
func (t *mqttStream) unread() bool { return t.conn.Unread() }

// end implements carrier.
func (t *mqttStream) end(*wire.Close) { t.conn.Finish() }

// mqttSocket is an MQTT connection over WebSocket, MQTT 5 §6: a stream in binary frames,
// which packets straddle and share as they like [MQTT-6.0.0-2].
type mqttSocket struct {
	mqttDevice
	ws   socket
	rest []byte // of the stream, not consumed: a part of a packet, mostly
}

// mqttPaths are where MQTT clients expect it: other names of connectPath.
var mqttPaths = []string{"/mqtt", "/ws", "/"}

// speakMQTT hands the connection, whose upgrade request asks for MQTT, to an mqttSocket. Who
// the device is, CONNECT says, or already the URL; credentials of either count, and CONNECT's
// first.
func (d *device) speakMQTT(req *websocket.Request, subprotocol string) *websocket.HTTPError {
	g := d.shard.gateway
	if !g.mayComeFrom(req.Origin) {
		return &websocket.HTTPError{Status: 403, Reason: "Pages of this origin may not connect."}
	}
	if path := string(tidyPath(req.Path)); slices.Contains(mqttPaths, path) {
		req.Path = []byte(connectPath)
	}
	t, refusal := parseTarget(req, g.config.Paths)
	if refusal != nil {
		return refusal
	}
	s := &mqttSocket{mqttDevice: mqttDevice{connection: connection{shard: d.shard, conn: d.conn}}}
	s.carrier = s
	s.opening = &mqttOpening{credentials: g.credentials(d.conn, req, &t, subprotocol), named: t.device != ""}
	s.ws.upgrade(s, req, &g.mqttFirst, subprotocol, false)
	d.state = handed
	d.conn.Become(s)
	d.shard.handshakes["accepted"]++
	return nil
}

// OnData implements reactor.Handler.
func (s *mqttSocket) OnData(conn *reactor.Conn, p []byte) int {
	n := 0
	if s.phase == attached {
		s.ws.reader.Use(&s.shard.gateway.mqttFrames)
	}
	if s.rest != nil {
		s.take(nil) // first what was left when the loop went on to others
	}
	if s.rest == nil || !conn.Paused() && !conn.Yields() {
		n = s.ws.onData(s, p, websocket.Limits{})
		s.ws.endFlood(s, s.shard, n)
	}
	s.keeps(len(s.rest) + s.ws.reader.Held())
	s.afterRead(n, n < len(p) || s.rest != nil || s.ws.reader.Unfinished() || s.skipping())
	return n
}

// OnAlarm implements reactor.Handler.
func (s *mqttSocket) OnAlarm(conn *reactor.Conn) {
	if s.ws.state == open {
		s.mqttDevice.OnAlarm(conn)
	} else {
		conn.Close()
	}
}

// OnClose implements reactor.Handler.
func (s *mqttSocket) OnClose(conn *reactor.Conn, err error) {
	s.rest = nil
	s.ws.ended(s, err)
	s.mqttDevice.OnClose(conn, err)
}

// open implements application: the handshake was a device's.
func (s *mqttSocket) open(*websocket.Request) *websocket.HTTPError { return nil }

// ready implements application.
func (s *mqttSocket) ready() bool { return s.shard.gateway.Ready() }

// refused implements application.
func (s *mqttSocket) refused(*websocket.HTTPError) {}

// receive implements application: a piece of the stream. Once it is known that the rest is no
// whole packet, that is known again after five bytes of it: Decode reads no packet twice.
func (s *mqttSocket) receive(payload []byte, text bool) error {
	if text { // [MQTT-6.0.0-1]
		return errTextFrame
	}
	s.take(payload)
	return nil
}

// take consumes what is left of the stream and then p, and keeps the rest.
func (s *mqttSocket) take(p []byte) {
	if s.rest == nil {
		n := s.consume(p)
		if n < len(p) {
			s.rest = append([]byte(nil), p[n:]...)
		}
		return
	}
	s.rest = append(s.rest, p...)
	switch rest := s.rest[s.consume(s.rest):]; {
	case len(rest) == 0:
		s.rest = nil
	case len(rest) <= cap(s.rest)/4: // no large buffer is kept for a little
		s.rest = append([]byte(nil), rest...)
	default:
		s.rest = s.rest[:copy(s.rest, rest)]
	}
}

// frame implements carrier.
func (s *mqttSocket) frame(dst, packets []byte) []byte {
	return websocket.AppendFrame(dst, websocket.Binary, packets)
}

// pings implements carrier.
func (s *mqttSocket) pings() bool { return true }

// unread implements carrier.
func (s *mqttSocket) unread() bool {
	return s.rest != nil || s.ws.reader.Unfinished() || s.conn.Unread()
}

// end implements carrier.
func (s *mqttSocket) end(why *wire.Close) { s.ws.close(s, why) }

// ping implements carrier.
func (s *mqttSocket) ping() { s.ws.ping(s) }
