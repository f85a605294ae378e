package fleet

import (
	"errors"
	"fmt"
	"strings"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

// subscribeID is the id of a client's only sub packet. No publication has it.
const subscribeID = wire.MaxID

// queueFull is the code of a refusal after which the device tries again.
const queueFull = "queue_full"

// handle handles one message or control frame.
func (c *Client) handle(e *websocket.Event) {
	switch e.Op {
	case websocket.Text, websocket.Binary:
		c.receive(e.Payload, e.Op == websocket.Text)
	case websocket.Ping:
		c.lane.tally.Pings++
		c.control(websocket.Pong, e.Payload)
	case websocket.Close:
		c.closed(e)
	}
}

// receive decodes a packet and handles it.
func (c *Client) receive(frame []byte, text bool) {
	p := &c.lane.packet
	if err := c.lane.fleet.codec.Decode(p, frame, text); err != nil {
		c.broken(err)
		return
	}
	switch {
	case p.Op == wire.Hello && c.phase == greeting:
		c.greeted(p)
	case !c.lane.fleet.codec.Acks():
		c.received(p)
	case c.phase != online:
		c.broken(wire.CloseContract.Because(p.Op.String() + " before hello"))
	case p.Op == wire.Ack:
		c.answered(p.ID, p.Err.Code)
	case p.Op == wire.Msg:
		c.received(p)
	case p.Op == wire.Call:
		c.called(p)
	default:
		c.broken(wire.CloseContract.Because(p.Op.String() + " is not for a gateway to send"))
	}
}

// greeted is called when hello arrived: the client is online.
func (c *Client) greeted(p *wire.Packet) {
	l := c.lane
	began := c.opening.began
	l.dialed(c)
	l.online(c)
	addLatency(l.opens, l.greeted-began)
	if h := p.Hello.Heartbeat; h > 0 {
		l.heartbeat = h
	}
	l.maxPayload = p.Hello.MaxPayload
	if len(l.fleet.config.Subscribe) > 0 && !p.Hello.Resumed {
		c.subscribe()
	}
	c.pump()
	if c.phase == online {
		c.watch()
	}
}

func (c *Client) subscribe() {
	name := c.lane.fleet.name(c.number)
	p := wire.Packet{Op: wire.Sub, ID: subscribeID, QoS: message.AtLeastOnce}
	for _, filter := range c.lane.fleet.config.Subscribe {
		p.Filters = append(p.Filters, strings.ReplaceAll(filter, placeholder, name))
	}
	c.send(&p)
}

// received counts a message and acknowledges it.
func (c *Client) received(p *wire.Packet) {
	l := c.lane
	l.tally.Received++
	l.received = l.fleet.clock()
	c.got++
	if p.Message.QoS == message.AtLeastOnce {
		c.send(&wire.Packet{Op: wire.Ack, ID: p.ID})
	}
}

// called answers a call with the call's own payload.
func (c *Client) called(p *wire.Packet) {
	c.lane.tally.Calls++
	c.send(&wire.Packet{Op: wire.Reply, ID: p.ID, Payload: p.Payload, ContentType: p.ContentType})
}

// closed answers the gateway's close frame, RFC 6455 §5.5.1.
func (c *Client) closed(e *websocket.Event) {
	reason := string(e.Payload)
	c.asked = wire.AskedDelay(reason)
	c.leave(fmt.Sprintf("closed by the gateway: %d %s", e.Code, reason))
	c.end(e.Code, "")
}

// broken closes a connection on which the gateway broke a rule.
func (c *Client) broken(err error) {
	code := websocket.CodeProtocolError
	var frame *websocket.Error
	var packet *wire.Close
	switch {
	case errors.As(err, &frame):
		code = frame.Code
	case errors.As(err, &packet):
		code = packet.Code
	}
	c.leave("the gateway broke the protocol: " + err.Error())
	c.end(code, err.Error())
}

// end sends a close frame and closes when the gateway has read it.
func (c *Client) end(code uint16, reason string) {
	c.conn.Commit(websocket.AppendMaskedClose(c.conn.Reserve(2*websocket.MaxHeader), code, reason, websocket.NewKey()))
	c.conn.Finish()
}

func (c *Client) control(op websocket.Opcode, payload []byte) {
	c.conn.Commit(websocket.AppendMaskedFrame(c.conn.Reserve(len(payload)+websocket.MaxHeader), op, payload, websocket.NewKey()))
	c.slowDown()
}

// send writes a packet. If the protocol cannot express it, send counts that and sends nothing.
func (c *Client) send(p *wire.Packet) bool {
	l := c.lane
	b, err := l.fleet.codec.Append(l.scratch[:0], p)
	if err != nil {
		l.note("not sent: " + err.Error())
		return false
	}
	if cap(b) <= maxScratch {
		l.scratch = b
	}
	if l.maxPayload > 0 && len(b) > l.maxPayload {
		l.note(fmt.Sprintf("not sent: larger than the gateway's max_payload of %d bytes", l.maxPayload))
		return false
	}
	c.conn.Commit(websocket.AppendMaskedFrame(c.conn.Reserve(len(b)+websocket.MaxHeader), l.fleet.op, b, websocket.NewKey()))
	c.slowDown()
	return true
}

const (
	maxScratch = 64 << 10 // the largest packet for which a lane keeps room
	maxPending = 1 << 20  // bytes that a gateway may leave unread before the client stops reading
)

// slowDown stops reading while much is pending. That bounds what is pending, because the client only answers what it reads.
func (c *Client) slowDown() {
	if c.conn.Pending() > maxPending && c.conn.Blocked() {
		c.conn.PauseReading()
	}
}
