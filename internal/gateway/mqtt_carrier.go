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
type mqttStream struct{ mqtt mqttDevice }

// newMQTTStream is the handler of a connection that was accepted.
func newMQTTStream(s *shard) *mqttStream {
	t := &mqttStream{mqttDevice{shard: s}}
	t.mqtt.carrier = t
	return t
}

// OnOpen implements reactor.Handler.
func (t *mqttStream) OnOpen(conn *reactor.Conn) {
	t.mqtt.conn = conn
	conn.SetAlarm(t.mqtt.shard.gateway.config.HandshakeTimeout)
}

// OnData implements reactor.Handler.
func (t *mqttStream) OnData(conn *reactor.Conn, p []byte) int {
	n := t.mqtt.consume(p)
	if t.mqtt.link.Session() == nil {
		t.mqtt.keeps(len(p) - n)
	}
	t.mqtt.shard.read(&t.mqtt, conn, n, n < len(p) || t.mqtt.skipping())
	return n
}

// OnAlarm implements reactor.Handler.
func (t *mqttStream) OnAlarm(*reactor.Conn) { t.mqtt.onAlarm() }

// OnDrained implements reactor.Handler.
func (t *mqttStream) OnDrained(*reactor.Conn) { t.mqtt.onDrained() }

// OnClose implements reactor.Handler.
func (t *mqttStream) OnClose(conn *reactor.Conn, err error) { t.mqtt.onClose(conn, err) }

func (t *mqttStream) bearing() (device string, credential uint64, ok bool) {
	return t.mqtt.bearing()
}
func (t *mqttStream) Close(why *wire.Close)   { t.mqtt.Close(why) }
func (t *mqttStream) drain(g *Gateway) bool   { return t.mqtt.drain(g) }
func (t *mqttStream) dismiss(why *wire.Close) { t.mqtt.dismiss(why) }

// frame implements carrier.
func (t *mqttStream) frame(dst, packets []byte) []byte { return append(dst, packets...) }

// pings implements carrier: MQTT's pings are the client's.
func (t *mqttStream) pings() bool { return false }

func (t *mqttStream) ping() {}

// unread implements carrier.
func (t *mqttStream) unread() bool { return t.mqtt.conn.Unread() }

// end implements carrier.
func (t *mqttStream) end(*wire.Close) { t.mqtt.conn.Finish() }

// mqttSocket is an MQTT connection over WebSocket, MQTT 5 §6: a stream in binary frames,
// which packets straddle and share as they like [MQTT-6.0.0-2].
type mqttSocket struct {
	socket
	mqtt mqttDevice
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
	s := &mqttSocket{mqtt: mqttDevice{shard: d.shard, conn: d.conn}}
	s.mqtt.carrier = s
	s.mqtt.opening = &mqttOpening{credentials: g.credentials(d.conn, req, &t, subprotocol), named: t.device != ""}
	s.conn = d.conn
	s.upgrade(req, &g.mqttFirst, subprotocol, false)
	d.state = handed
	d.conn.Become(s)
	d.shard.handshakes["accepted"]++
	return nil
}

// OnOpen implements reactor.Handler.
func (s *mqttSocket) OnOpen(*reactor.Conn) {}

// OnData implements reactor.Handler.
func (s *mqttSocket) OnData(conn *reactor.Conn, p []byte) int {
	n := 0
	if s.mqtt.phase == mqttOpen {
		s.reader.Use(&s.mqtt.shard.gateway.mqttFrames)
	}
	if s.rest != nil {
		s.take(nil) // first what was left when the loop went on to others
	}
	if s.rest == nil || !conn.Paused() && !conn.Yields() {
		n = s.onData(s, p, websocket.Limits{})
		s.endFlood(s.mqtt.shard, n)
	}
	if s.mqtt.link.Session() == nil {
		s.mqtt.keeps(len(s.rest) + s.reader.Held())
	}
	s.mqtt.shard.read(&s.mqtt, conn, n, n < len(p) || s.rest != nil || s.reader.Unfinished() || s.mqtt.skipping())
	return n
}

// OnAlarm implements reactor.Handler.
func (s *mqttSocket) OnAlarm(conn *reactor.Conn) {
	if s.state == open {
		s.mqtt.onAlarm()
	} else {
		conn.Close()
	}
}

// OnDrained implements reactor.Handler.
func (s *mqttSocket) OnDrained(*reactor.Conn) { s.mqtt.onDrained() }

// OnClose implements reactor.Handler.
func (s *mqttSocket) OnClose(conn *reactor.Conn, err error) {
	s.rest = nil
	s.ended(s, err)
	s.mqtt.onClose(conn, err)
}

func (s *mqttSocket) bearing() (device string, credential uint64, ok bool) {
	return s.mqtt.bearing()
}
func (s *mqttSocket) Close(why *wire.Close)   { s.mqtt.Close(why) }
func (s *mqttSocket) drain(g *Gateway) bool   { return s.mqtt.drain(g) }
func (s *mqttSocket) dismiss(why *wire.Close) { s.mqtt.dismiss(why) }

// open implements application: the handshake was a device's.
func (s *mqttSocket) open(*websocket.Request) *websocket.HTTPError { return nil }

// ready implements application.
func (s *mqttSocket) ready() bool { return s.mqtt.shard.gateway.Ready() }

// refused implements application.
func (s *mqttSocket) refused(int) {}

// leave implements application.
func (s *mqttSocket) leave(why string) { s.mqtt.left(why) }

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
		n := s.mqtt.consume(p)
		if n < len(p) {
			s.rest = append([]byte(nil), p[n:]...)
		}
		return
	}
	s.rest = append(s.rest, p...)
	switch rest := s.rest[s.mqtt.consume(s.rest):]; {
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
	return s.rest != nil || s.reader.Unfinished() || s.mqtt.conn.Unread()
}

// end implements carrier.
func (s *mqttSocket) end(why *wire.Close) { s.close(s, why) }
