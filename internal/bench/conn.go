package bench

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/ocpp"
)

// conn is one connection of a client, a reactor.Handler. Owned by the loop.
type conn struct {
	lane      *lane
	tcp       *reactor.Conn // nil until it is open
	reader    websocket.Reader
	number    uint32 // index in the lane
	sent, got uint32 // messages of the current load
	opening   *opening
	upgraded  bool
	partial   []byte // the beginning of an incomplete MQTT packet
}

// opening is what a connection needs until it is open.
type opening struct {
	request websocket.ClientRequest
	began   time.Duration // on the client's clock
}

// begin is called before the dial.
func (c *conn) begin() {
	t := &c.lane.client.target
	c.opening = &opening{t.request(), c.lane.client.clock()}
	switch r := &c.opening.request; {
	case t.MQTT != nil:
		r.Target, r.Protocols = "/mqtt", mqttProtocols
	case t.Chargers:
		r.Target, r.Protocols = "/ocpp/"+c.id(), []string{ocpp.V16.Subprotocol()}
	case t.Devices != "":
		r.Target, r.Protocols = "/connect?device="+c.id(), []string{wire.Protobuf.Name()}
	}
}

// id returns the device id.
func (c *conn) id() string {
	return c.lane.client.target.Devices + strconv.Itoa(c.global())
}

// global returns the connection's number in the client.
func (c *conn) global() int {
	return int(c.number)*len(c.lane.client.group.Loops()) + c.lane.loop.Index()
}

// OnOpen implements reactor.Handler.
func (c *conn) OnOpen(tcp *reactor.Conn) {
	c.tcp = tcp
	if c.lane.client.target.Raw {
		c.upgrade()
		return
	}
	tcp.Commit(websocket.AppendRequest(tcp.Reserve(256), &c.opening.request))
}

// upgrade is called after the handshake: the bytes that follow are frames.
func (c *conn) upgrade() {
	c.upgraded = true
	c.reader.Init(&frames, false)
	switch t := &c.lane.client.target; {
	case t.MQTT != nil:
		c.connectMQTT()
	case t.Devices == "" || t.Chargers:
		c.open()
	}
}

// open makes the connection ready for loads.
func (c *conn) open() {
	took := c.lane.client.clock() - c.opening.began
	c.opening = nil
	c.lane.opened(took)
}

// message handles a message: first the greeting, if the target sends one, then those of loads.
func (c *conn) message(p []byte) error {
	switch {
	case c.lane.client.target.MQTT != nil:
		return c.packets(p)
	case c.opening == nil:
		return c.lane.received(c, p)
	}
	if err := c.decode(p, wire.Hello); err != nil {
		return err
	}
	c.open()
	return nil
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
		used, _, err = websocket.ParseResponse(p, &c.opening.request, websocket.Limits{})
		if used == 0 || err != nil {
			return 0, err
		}
		c.upgrade()
	}
	for {
		n, event, err := c.reader.Next(p[used:])
		used += n
		switch {
		case err != nil || event.Op == websocket.Continuation:
			return used, err
		case event.Op == websocket.Close:
			return used, fmt.Errorf("%w: %d %s", errClosedByServer, event.Code, event.Payload)
		case event.Op == websocket.Ping:
			c.write(websocket.Pong, event.Payload)
		case event.Op == websocket.Binary && !c.lane.client.target.Chargers, event.Op == websocket.Text && c.lane.client.target.Chargers:
			err = c.message(event.Payload)
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

// OnAlarm implements reactor.Handler. No alarm is set.
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
