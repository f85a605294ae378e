package ws

import (
	"errors"
	"time"

	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

// Application is what a Socket serves: devices, or the echo.
type Application interface {
	Transport() *reactor.Conn
	// Open decides about an upgrade request, which is borrowed. It answers with Socket.Upgrade, or returns the
	// refusal.
	Open(req *websocket.Request) *websocket.HTTPError
	// Receive handles one message, which is borrowed. An error closes the connection.
	Receive(payload []byte, text bool) error
	// Plain is called for a connection that asks for a path without an upgrade, at most once if it returns an answer: then the connection
	// ends. nil means that the path is like any other.
	Plain(path string) *PlainAnswer
	// Refused is called with the answer that refuses a handshake.
	Refused(e *websocket.HTTPError)
	// Left is called once when an open WebSocket connection ends or is about to. why has the label of metrics and
	// presence.
	Left(why *wire.Close)
}

// Socket is the server's side of one WebSocket connection: handshake, frames, control frames, closing. Its owner
// embeds it and gives it the loop's events.
type Socket struct {
	reader websocket.Reader
	state  socketState
	window websocket.Window // of permessage-deflate; 0 without
}

type socketState uint8

const (
	handshaking socketState = iota // the opening handshake is not complete
	open
	closing // the gateway has sent its close frame and waits for the peer's
	over    // nothing is read any more
	handed  // the connection has another handler
)

// closeWait is how long the peer may take to answer a close frame.
const closeWait = 5 * time.Second

// OnBytes handles the complete events of p and returns how many bytes they had.
func (s *Socket) OnBytes(app Application, p []byte, limits websocket.Limits) int {
	done, conn := 0, app.Transport()
	if s.state == handshaking {
		if done = s.readHandshake(app, p, limits); done == 0 {
			return 0
		}
	}
	for done < len(p) && (s.state == open || s.state == closing) && !conn.Paused() && !conn.Yields() {
		n, ev, err := s.reader.Next(p[done:])
		done += n
		if err != nil {
			s.CloseFor(app, door.CloseOf(err))
			s.Finish(app)
			break
		}
		if ev.Op == 0 {
			return done
		}
		s.handle(app, ev)
	}
	if s.state == over || conn.Closed() {
		s.reader.Release()
		return len(p)
	}
	return done
}

// readHandshake reads the opening handshake and asks the application to decide.
func (s *Socket) readHandshake(app Application, p []byte, limits websocket.Limits) int {
	if s.answerPlain(app, p, limits) {
		if s.state == over {
			return len(p)
		}
		return 0
	}
	var req websocket.Request
	n, err := websocket.ParseRequest(p, &req, limits)
	var refusal *websocket.HTTPError
	if errors.As(err, &refusal) {
		s.Reject(app, refusal)
		return len(p)
	}
	if n == 0 {
		return 0
	}
	if refusal := app.Open(&req); refusal != nil {
		s.Reject(app, refusal)
		return len(p)
	}
	return n
}

// Reject answers the handshake with an HTTP error and ends the connection.
func (s *Socket) Reject(app Application, e *websocket.HTTPError) {
	s.state = over
	app.Refused(e)
	conn := app.Transport()
	conn.Commit(websocket.AppendHTTPError(conn.Reserve(512), e))
	conn.Finish()
}

// Upgrade accepts the handshake.
func (s *Socket) Upgrade(app Application, req *websocket.Request, config *websocket.Config, subprotocol string, deflate bool) {
	s.state = open
	if deflate {
		s.window = req.Window
	}
	s.reader.Init(config, s.window > 0)
	conn := app.Transport()
	conn.Commit(websocket.AppendUpgrade(conn.Reserve(256), req, subprotocol, deflate))
}

func (s *Socket) handle(app Application, ev websocket.Event) {
	switch ev.Op {
	case websocket.Text, websocket.Binary:
		if s.state != open {
			return // RFC 6455 §1.4: data after the gateway's close frame is discarded
		}
		if err := app.Receive(ev.Payload, ev.Op == websocket.Text); err != nil {
			s.CloseFor(app, door.CloseOf(err))
		}
	case websocket.Ping:
		if s.state == open {
			conn := app.Transport()
			conn.Commit(websocket.AppendFrame(conn.Reserve(len(ev.Payload)+websocket.MaxHeader), websocket.Pong, ev.Payload))
		}
	case websocket.Close:
		s.closed(app, ev)
	}
}

// closed answers the peer's close frame, RFC 6455 §5.5.1, and ends the connection, as the server has to, §7.1.1.
func (s *Socket) closed(app Application, ev websocket.Event) {
	if s.state == open {
		conn := app.Transport()
		conn.Commit(websocket.AppendClose(conn.Reserve(closeRoom), ev.Code, ""))
		app.Left(door.ErrPeerClosed)
	}
	s.Finish(app)
}

// closeRoom is enough for any close frame.
const closeRoom = 128

// CloseFor sends a close frame and waits for the peer's.
func (s *Socket) CloseFor(app Application, why *wire.Close) {
	conn := app.Transport()
	switch s.state {
	case handshaking:
		conn.Close()
	case open:
		s.state = closing
		conn.Commit(websocket.AppendClose(conn.Reserve(closeRoom), why.Code, why.Reason))
		conn.SetAlarm(closeWait)
		conn.ResumeReading()
		app.Left(why)
	}
}

// Finish ends the connection once everything pending is sent.
func (s *Socket) Finish(app Application) {
	s.state = over
	app.Transport().Finish()
}

// EndFlood ends a connection that is closing and whose peer sends more than its rate allows. It does not wait for the
// peer's close frame.
func (s *Socket) EndFlood(app Application, of *door.Shard, bytes int) {
	if s.state == closing && of.TakeTokens(app.Transport(), bytes) > 0 {
		s.Finish(app)
	}
}

// Ended runs when the connection has closed.
func (s *Socket) Ended(app Application, err error) {
	s.reader.Release()
	if s.state == open {
		s.state = over
		app.Left(door.EndOf(err))
	}
	s.state = over
}

// Ping sends a ping.
func (s *Socket) Ping(app Application) {
	conn := app.Transport()
	conn.Commit(websocket.AppendFrame(conn.Reserve(websocket.MaxHeader), websocket.Ping, nil))
}

// InHandshake reports whether the opening handshake is incomplete.
func (s *Socket) InHandshake() bool { return s.state == handshaking }

// IsOpen reports whether the handshake was accepted and the gateway has sent no close frame.
func (s *Socket) IsOpen() bool { return s.state == open }

// Window returns the window of permessage-deflate; 0 without.
func (s *Socket) Window() websocket.Window { return s.window }

// Use sets the limits for messages that begin from now on.
func (s *Socket) Use(config *websocket.Config) { s.reader.Use(config) }

// Held returns the size of the buffer of an unfinished message, in bytes.
func (s *Socket) Held() int { return s.reader.Held() }

// Unfinished reports whether a part of a message or control frame was received.
func (s *Socket) Unfinished() bool { return s.reader.Unfinished() }
