package bench

import (
	"errors"
	"fmt"
	"io"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
)

// conn is one connection of a client, a reactor.Handler. Owned by the loop.
type conn struct {
	lane      *lane
	tcp       *reactor.Conn // nil until it is open
	reader    websocket.Reader
	number    uint32 // in the lane
	sent, got uint32 // messages of the load
	upgraded  bool
}

// OnOpen implements reactor.Handler.
func (c *conn) OnOpen(tcp *reactor.Conn) {
	c.tcp = tcp
	if c.lane.client.target.Raw {
		c.open()
		return
	}
	tcp.Commit(websocket.AppendRequest(tcp.Reserve(256), &c.lane.client.request))
}

func (c *conn) open() {
	c.upgraded = true
	c.reader.Init(&frames, false)
	c.lane.opened()
}

// OnData implements reactor.Handler.
func (c *conn) OnData(_ *reactor.Conn, p []byte) int {
	used, err := c.read(p)
	if err != nil {
		c.lane.client.lost(c.number, err)
		c.tcp.Close()
		return len(p)
	}
	return used
}

func (c *conn) read(p []byte) (used int, err error) {
	if !c.upgraded {
		used, _, err = websocket.ParseResponse(p, &c.lane.client.request, websocket.Limits{})
		if used == 0 || err != nil {
			return 0, err
		}
		c.open()
	}
	for {
		n, event, err := c.reader.Next(p[used:])
		used += n
		switch {
		case err != nil || event.Op == websocket.Continuation:
			return used, err
		case event.Op == websocket.Close:
			return used, errClosedByServer
		case event.Op == websocket.Ping:
			c.write(websocket.Pong, event.Payload)
		case event.Op == websocket.Binary:
			err = c.lane.received(c, event.Payload)
		default:
			err = fmt.Errorf("a message with opcode %d that was not asked for", event.Op)
		}
		if err != nil {
			return used, err
		}
	}
}

// write sends a frame.
func (c *conn) write(op websocket.Opcode, payload []byte) {
	room := c.tcp.Reserve(len(payload) + websocket.MaxHeader)
	if c.lane.client.target.Raw {
		c.tcp.Commit(websocket.AppendFrame(room, op, payload))
	} else {
		c.tcp.Commit(websocket.AppendMaskedFrame(room, op, payload, websocket.NewKey()))
	}
}

// OnAlarm implements reactor.Handler; no alarm is ever set.
func (c *conn) OnAlarm(*reactor.Conn) {}

// OnDrained implements reactor.Handler.
func (c *conn) OnDrained(*reactor.Conn) {}

// OnClose implements reactor.Handler.
func (c *conn) OnClose(_ *reactor.Conn, err error) {
	c.reader.Release()
	if errors.Is(err, io.EOF) {
		err = errClosedByServer
	}
	c.lane.client.lost(c.number, err)
}
