package gateway

import (
	"errors"
	"time"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

// application is what a socket serves: devices, or the echo.
type application interface {
	transport() *reactor.Conn
	// open decides about an upgrade request, which is borrowed. It answers with
	// socket.upgrade, or returns the refusal.
	open(req *websocket.Request) *websocket.HTTPError
	// receive takes one message, which is borrowed. An error closes the connection.
	receive(payload []byte, text bool) error
	// ready reports whether the node takes devices.
	ready() bool
	// refused is told the status with which a handshake was refused.
	refused(e *websocket.HTTPError)
	// left is called once, when the WebSocket connection is over or closing, if it was
	// open: why is the label of metrics and presence.
	left(why *wire.Close)
}

// socket is the server's side of one WebSocket connection: handshake, frames, control
// frames, closing. What has a socket embeds it and hands it the loop's events.
type socket struct {
	reader websocket.Reader
	state  socketState
	window websocket.Window // of permessage-deflate, 0 without
}

type socketState uint8

const (
	shaking socketState = iota // the opening handshake is not complete
	open
	closing // our close frame was sent, the peer's has not come
	over    // nothing is read any more
	handed  // the connection has another handler
)

// closeWait is how long the peer may take to answer a close frame.
const closeWait = 5 * time.Second

// onData consumes what it can of p.
func (s *socket) onData(app application, p []byte, limits websocket.Limits) int {
	done, conn := 0, app.transport()
	if s.state == shaking {
		if done = s.shake(app, p, limits); done == 0 {
			return 0
		}
	}
	for done < len(p) && (s.state == open || s.state == closing) && !conn.Paused() && !conn.Yields() {
		n, ev, err := s.reader.Next(p[done:])
		done += n
		if err != nil {
			s.close(app, closeOf(err))
			s.finish(app)
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

// shake reads the opening handshake and has the application decide.
func (s *socket) shake(app application, p []byte, limits websocket.Limits) int {
	if s.answerHealth(app, p, limits) {
		if s.state == over {
			return len(p)
		}
		return 0
	}
	var req websocket.Request
	n, err := websocket.ParseRequest(p, &req, limits)
	var refusal *websocket.HTTPError
	if errors.As(err, &refusal) {
		s.reject(app, refusal)
		return len(p)
	}
	if n == 0 {
		return 0
	}
	if refusal := app.open(&req); refusal != nil {
		s.reject(app, refusal)
		return len(p)
	}
	return n
}

// reject answers the handshake with an HTTP error and ends the connection.
func (s *socket) reject(app application, e *websocket.HTTPError) {
	s.state = over
	app.refused(e)
	conn := app.transport()
	conn.Commit(websocket.AppendHTTPError(conn.Reserve(512), e))
	conn.Finish()
}

// upgrade accepts the handshake.
func (s *socket) upgrade(app application, req *websocket.Request, config *websocket.Config, subprotocol string, deflate bool) {
	s.state = open
	if deflate {
		s.window = req.Window
	}
	s.reader.Init(config, s.window > 0)
	conn := app.transport()
	conn.Commit(websocket.AppendUpgrade(conn.Reserve(256), req, subprotocol, deflate))
}

func (s *socket) handle(app application, ev websocket.Event) {
	switch ev.Op {
	case websocket.Text, websocket.Binary:
		if s.state != open {
			return // RFC 6455 §1.4: after our close frame, data is discarded
		}
		if err := app.receive(ev.Payload, ev.Op == websocket.Text); err != nil {
			s.close(app, closeOf(err))
		}
	case websocket.Ping:
		if s.state == open {
			conn := app.transport()
			conn.Commit(websocket.AppendFrame(conn.Reserve(len(ev.Payload)+websocket.MaxHeader), websocket.Pong, ev.Payload))
		}
	case websocket.Close:
		s.closed(app, ev)
	}
}

// closed answers the peer's close frame, RFC 6455 §5.5.1, and ends the connection: that is
// the server's part, §7.1.1.
func (s *socket) closed(app application, ev websocket.Event) {
	if s.state == open {
		conn := app.transport()
		conn.Commit(websocket.AppendClose(conn.Reserve(closeRoom), ev.Code, ""))
		app.left(errPeerClosed)
	}
	s.finish(app)
}

// closeRoom holds any close frame.
const closeRoom = 128

// close sends a close frame and waits for the peer's.
func (s *socket) close(app application, why *wire.Close) {
	conn := app.transport()
	switch s.state {
	case shaking:
		conn.Close()
	case open:
		s.state = closing
		conn.Commit(websocket.AppendClose(conn.Reserve(closeRoom), why.Code, why.Reason))
		conn.SetAlarm(closeWait)
		conn.ResumeReading()
		app.left(why)
	}
}

// finish ends the connection once what is pending has left.
func (s *socket) finish(app application) {
	s.state = over
	app.transport().Finish()
}

// endFlood ends the connection of a peer that was told that it is closed, and sends more than
// it may: its close frame is not waited for.
func (s *socket) endFlood(app application, of *shard, bytes int) {
	if s.state == closing && of.draw(app.transport(), bytes) > 0 {
		s.finish(app)
	}
}

// ended is called when the connection is gone.
func (s *socket) ended(app application, err error) {
	s.reader.Release()
	if s.state == open {
		s.state = over
		app.left(endOf(err))
	}
	s.state = over
}

// ping asks the peer for a sign of life.
func (s *socket) ping(app application) {
	conn := app.transport()
	conn.Commit(websocket.AppendFrame(conn.Reserve(websocket.MaxHeader), websocket.Ping, nil))
}

// closeOf is the rule that err says was broken.
func closeOf(err error) *wire.Close {
	var c *wire.Close
	if errors.As(err, &c) {
		return c
	}
	var e *websocket.Error
	if errors.As(err, &e) {
		return &wire.Close{Code: e.Code, Label: e.Label, Reason: e.Reason}
	}
	return wire.CloseInternal.Because(err.Error())
}
