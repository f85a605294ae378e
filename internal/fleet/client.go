package fleet

import (
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

// phase is the phase of a client's connection.
type phase uint8

const (
	away     phase = iota // no connection: not dialed yet, or waiting to reconnect
	dialing               // until the end of the upgrade
	greeting              // upgraded, waiting for hello
	online                // greeted
	leaving               // the connection is about to end, and the reason was counted
	gone                  // gave up
)

// Client is one device: the reactor.Handler of its connections, one after
// another. Owned by the loop.
type Client struct {
	lane   *lane
	number uint32 // of the device in the fleet
	phase  phase
	tries  uint8 // failed tries in a row
	tried  bool  // the first attempt has ended
	met    bool  // was online before

	lastID  uint32 // of publications
	since   uint32 // when it came online, in seconds of the fleet's clock
	got     uint32 // messages received
	conn    *reactor.Conn
	opening *opening // set from the dial to hello
	outbox  *outbox  // nil when there is nothing to publish
	reader  websocket.Reader
	asked   time.Duration // delay that the gateway asked for; 0 means none
}

// opening is what a client needs until hello arrives.
type opening struct {
	request websocket.ClientRequest
	began   time.Duration // when it dialed, on the fleet's clock
}

// dial starts a connection.
func (c *Client) dial() {
	l := c.lane
	f := l.fleet
	name := f.name(c.number)
	c.opening = &opening{
		request: websocket.ClientRequest{
			Host:          f.target.host,
			Target:        f.target.before + name + f.target.after,
			Key:           websocket.NewHandshakeKey(),
			Protocols:     f.protocols,
			Authorization: f.authorization,
		},
		began: f.clock(),
	}
	c.phase = dialing
	l.dialing++
	l.tally.Dials++
	conn, err := f.connect(l.loop, c)
	if err != nil {
		c.ended(err)
		return
	}
	c.conn = conn
	conn.SetAlarm(f.config.ConnectTimeout)
}

// OnOpen implements reactor.Handler.
func (c *Client) OnOpen(conn *reactor.Conn) {
	conn.Commit(websocket.AppendRequest(conn.Reserve(handshakeRoom), &c.opening.request))
}

const handshakeRoom = 512 // bytes that are enough for most upgrade requests

// OnData implements reactor.Handler.
func (c *Client) OnData(_ *reactor.Conn, p []byte) int {
	used := 0
	if c.phase == dialing {
		if used = c.upgraded(p); used == 0 {
			return 0
		}
	}
	for c.phase == greeting || c.phase == online {
		n, event, err := c.reader.Next(p[used:])
		used += n
		if err != nil {
			c.broken(err)
			break
		}
		if event.Op == websocket.Continuation {
			return used
		}
		c.handle(&event)
	}
	return len(p) // the rest is ignored
}

// upgraded reads the answer to the upgrade and returns its length, or 0 if it is not complete
// yet, or is a refusal.
func (c *Client) upgraded(p []byte) int {
	n, response, err := websocket.ParseResponse(p, &c.opening.request, websocket.Limits{})
	var refused *websocket.HandshakeError
	if errors.As(err, &refused) {
		c.asked = refused.RetryAfter
		c.leave(refused.Error())
		c.conn.Close()
		return 0
	}
	if n == 0 {
		return 0
	}
	codec := c.lane.fleet.codec
	if response.Protocol != codec.Name() {
		c.leave("the gateway does not speak the subprotocol " + codec.Name())
		c.conn.Close()
		return 0
	}
	c.reader.Init(&c.lane.fleet.frames, false)
	c.phase = greeting
	if !codec.Acks() { // a raw subprotocol has no hello either
		c.greeted(new(wire.Packet))
	}
	return n
}

// leave counts why the connection is about to end.
func (c *Client) leave(reason string) {
	c.lane.offline(c)
	c.lane.note(reason)
	c.phase = leaving
}

// OnAlarm implements reactor.Handler.
func (c *Client) OnAlarm(conn *reactor.Conn) {
	switch c.phase {
	case dialing, greeting:
		c.leave("the gateway did not greet in time")
		conn.Close()
	case online:
		c.resumeRefused()
		c.beat()
	}
}

// OnDrained implements reactor.Handler.
func (c *Client) OnDrained(conn *reactor.Conn) {
	conn.ResumeReading()
	if !c.lane.fleet.codec.Acks() {
		c.framesLeft()
	}
}

// OnClose implements reactor.Handler.
func (c *Client) OnClose(_ *reactor.Conn, err error) { c.ended(err) }

// ended is called after every connection, also after one that could not be dialed.
func (c *Client) ended(err error) {
	if c.phase != leaving {
		c.leave(endReason(c.phase, err))
	}
	l := c.lane
	l.dialed(c)
	c.phase, c.conn = away, nil
	c.reader.Release()
	if c.outbox != nil {
		c.outbox.rewind()
	}
	l.comeBack(c)
}

// endReason returns the reason of an end for which neither side has given one.
func endReason(p phase, err error) string {
	var errno unix.Errno
	switch {
	case errors.Is(err, io.EOF):
		return "the gateway ended the connection without a close frame"
	case p == dialing && errors.As(err, &errno):
		return "connect: " + errno.Error()
	}
	return err.Error()
}

// beat pings a gateway that is silent, and closes the connection if it stays silent. Usually the gateway
// pings first, because the client waits a third longer.
func (c *Client) beat() {
	silence := c.conn.Silence()
	heartbeat := c.lane.heartbeat
	if silence >= 2*heartbeat {
		c.leave("the gateway was silent for too long")
		c.conn.Close()
		return
	}
	if silence >= heartbeat*4/3 {
		c.control(websocket.Ping, nil)
	}
	c.watch()
}

// watch sets the alarm to the next check of the gateway's silence, or to the end of a pause if that is
// earlier.
func (c *Client) watch() {
	silence, heartbeat := c.conn.Silence(), c.lane.heartbeat
	next := heartbeat*4/3 - silence
	if next <= 0 {
		next = 2*heartbeat - silence
	}
	if c.outbox != nil && c.outbox.resume > 0 {
		next = min(next, c.outbox.resume-c.lane.fleet.clock())
	}
	c.conn.SetAlarm(max(0, next))
}
