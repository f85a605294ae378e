package mqtt

import (
	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/gateway/ws"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

// maxFraming is the most that a carrier adds to packets, in bytes.
const maxFraming = websocket.MaxHeader

var (
	_ door.Handler = (*Stream)(nil)
	_ door.Handler = (*Socket)(nil)
)

// Stream is an MQTT connection over TCP or TLS, MQTT 5 §4.2.
type Stream struct{ Device }

// NewStream returns the handler of a new connection.
func NewStream(s *Shard) *Stream {
	t := &Stream{Device{Conn: s.NewConn(nil), shard: s}}
	t.carrier = t
	return t
}

// OnData implements reactor.Handler.
func (t *Stream) OnData(_ *reactor.Conn, p []byte) int {
	n := t.consume(p)
	t.CountHandshakeBytes(len(p) - n)
	t.AfterRead(n, n < len(p) || t.skipping())
	return n
}

// frame implements carrier.
func (t *Stream) frame(dst, packets []byte) []byte { return append(dst, packets...) }

// pings implements carrier: in MQTT only the client sends pings.
func (t *Stream) pings() bool { return false }

func (t *Stream) ping() {}

// unread implements carrier.
func (t *Stream) unread() bool { return t.Transport().Unread() }

// end implements carrier.
func (t *Stream) end(*wire.Close) { t.Transport().Finish() }

// Socket is an MQTT connection over WebSocket, MQTT 5 §6: a stream in binary frames. A packet may span frames, and a
// frame may have several packets [MQTT-6.0.0-2].
type Socket struct {
	Device
	ws   ws.Socket
	rest []byte // of the stream, not consumed: mostly a part of a packet
}

// OnData implements reactor.Handler.
func (s *Socket) OnData(conn *reactor.Conn, p []byte) int {
	n := 0
	if s.Attached() {
		s.ws.Use(&s.shard.server.frames)
	}
	if s.rest != nil {
		s.consumeStream(nil) // first what was left when the connection yielded
	}
	if s.rest == nil || !conn.Paused() && !conn.Yields() {
		n = s.ws.OnBytes(s, p, websocket.Limits{})
		s.ws.EndFlood(s, s.shard.Shard, n)
	}
	s.CountHandshakeBytes(len(s.rest) + s.ws.Held())
	s.AfterRead(n, n < len(p) || s.rest != nil || s.ws.Unfinished() || s.skipping())
	return n
}

// OnAlarm implements reactor.Handler.
func (s *Socket) OnAlarm(conn *reactor.Conn) {
	if s.ws.IsOpen() {
		s.Device.OnAlarm(conn)
	} else {
		conn.Close()
	}
}

// OnClose implements reactor.Handler.
func (s *Socket) OnClose(conn *reactor.Conn, err error) {
	s.rest = nil
	s.ws.Ended(s, err)
	s.Device.OnClose(conn, err)
}

// Open implements ws.Application. A ws.Device has read the handshake already.
func (s *Socket) Open(*websocket.Request) *websocket.HTTPError { return nil }

// Plain implements ws.Application. A ws.Device has read the handshake already.
func (s *Socket) Plain(string) *ws.PlainAnswer { return nil }

// Refused implements ws.Application.
func (s *Socket) Refused(*websocket.HTTPError) {}

// Receive implements ws.Application: payload is a piece of the stream. If what is left is no complete packet, Decode
// sees that from its first five bytes, so that it decodes no packet twice.
func (s *Socket) Receive(payload []byte, text bool) error {
	if text { // [MQTT-6.0.0-1]
		return errTextFrame
	}
	s.consumeStream(payload)
	return nil
}

// consumeStream consumes what is left of the stream and then p, and keeps the rest.
func (s *Socket) consumeStream(p []byte) {
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
	case len(rest) <= cap(s.rest)/4: // a large buffer is not kept for a few bytes
		s.rest = append([]byte(nil), rest...)
	default:
		s.rest = s.rest[:copy(s.rest, rest)]
	}
}

// frame implements carrier.
func (s *Socket) frame(dst, packets []byte) []byte {
	return websocket.AppendFrame(dst, websocket.Binary, packets)
}

// pings implements carrier.
func (s *Socket) pings() bool { return true }

// unread implements carrier.
func (s *Socket) unread() bool {
	return s.rest != nil || s.ws.Unfinished() || s.Transport().Unread()
}

// end implements carrier.
func (s *Socket) end(why *wire.Close) { s.ws.CloseFor(s, why) }

// ping implements carrier.
func (s *Socket) ping() { s.ws.Ping(s) }
