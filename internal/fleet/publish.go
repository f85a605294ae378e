package fleet

import (
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire"
)

// publishNow sends a QoS 0 message. It returns false if the device is not online, or the
// gateway does not keep up.
func (c *Client) publishNow(payload []byte) bool {
	return c.phase == online && !c.conn.Blocked() && c.send(c.publication(0, payload))
}

// offer enqueues a QoS 1 message that was due at the time since. It returns false if the
// device is not online or its window is full.
func (c *Client) offer(payload []byte, since time.Duration) bool {
	if c.phase != online || c.outbox != nil && len(c.outbox.left()) >= c.lane.fleet.config.Window {
		return false
	}
	c.enqueue(publication{payload: payload, since: since})
	return true
}

// enqueue adds a QoS 1 message to the outbox in any state. The caller bounds the number of messages.
func (c *Client) enqueue(p publication) {
	if c.phase == gone {
		c.lane.tally.Unsent++
		c.lane.settled()
		return
	}
	if c.outbox == nil {
		c.outbox = c.lane.borrowOutbox()
	}
	c.outbox.push(p)
	c.lane.tally.Waiting++
	c.pump()
}

// pump sends publications while the window has room.
func (c *Client) pump() {
	for c.phase == online && c.outbox != nil {
		p := c.outbox.next(c.lane.fleet.config.Window)
		if p == nil {
			return
		}
		c.publish(p)
	}
}

// publish sends p, for the first time or again.
func (c *Client) publish(p *publication) {
	t := &c.lane.tally
	again := p.id != 0
	if !again {
		c.lastID++
		p.id = uint64(c.lastID)
	}
	if p.since == 0 {
		p.since = c.lane.fleet.clock()
	}
	switch {
	case !c.send(c.publication(p.id, p.payload)):
		t.Unsent++
		c.settle(c.outbox.find(p.id))
	case again:
		t.Resent++
	default:
		t.Sent++
	}
	if !c.lane.fleet.codec.Acks() {
		c.conn.Full(1) // so that OnDrained is called when it has left
	}
}

// framesLeft settles the frames that were written when the kernel has taken all of them. Frames have no
// acknowledgements.
func (c *Client) framesLeft() {
	if c.conn.Full(1) { // more were written meanwhile
		return
	}
	for c.outbox != nil && c.outbox.sent > 0 {
		c.settle(0)
	}
	c.pump()
}

// publication returns the pub packet of a message, which is valid until the next call. An id of 0
// means QoS 0. In a raw subprotocol the message is a frame, which the codec writes for a Msg packet.
func (c *Client) publication(id uint64, payload []byte) *wire.Packet {
	p := &c.lane.outgoing
	if !c.lane.fleet.codec.Acks() {
		p.Op, p.Message.Payload = wire.Msg, payload
		return p
	}
	p.Op, p.ID = wire.Pub, id
	p.Message.Topic = "device/" + c.lane.fleet.name(c.number) + "/telemetry"
	p.Message.Payload, p.Message.ContentType = payload, ""
	if len(payload) > 0 {
		p.Message.ContentType = message.JSON
	}
	p.Message.QoS = message.QoS(min(id, 1))
	return p
}

// answered handles the gateway's answer to a publication. code is empty if the gateway accepted it.
func (c *Client) answered(id uint64, code string) {
	l := c.lane
	if id == subscribeID {
		if code != "" {
			l.note("subscription refused: " + code)
		}
		return
	}
	i := -1
	if c.outbox != nil {
		i = c.outbox.find(id)
	}
	switch {
	case i < 0: // it was answered before, on another connection
	case code == queueFull: // later ones wait for it; those that were sent already may overtake it
		l.tally.Retried++
		c.outbox.refuse(i)
	case code != "":
		l.tally.Refused++
		l.note("refused: " + code)
		c.settle(i)
	default:
		l.tally.Acknowledged++
		addLatency(l.latency, l.fleet.clock()-c.outbox.left()[i].since)
		c.outbox.pauses = 0
		c.settle(i)
	}
	c.pauseIfStuck()
	c.pump()
}

// settle removes a publication that has its final answer.
func (c *Client) settle(i int) {
	o := c.outbox
	o.remove(i)
	c.lane.tally.Waiting--
	c.lane.settled()
	if len(o.left()) == 0 {
		c.outbox = nil
		c.lane.returnOutbox(o)
	}
}

// pauseIfStuck begins the pause when no answer is outstanding and some were refused.
func (c *Client) pauseIfStuck() {
	if o := c.outbox; o != nil && o.stuck() && o.resume == 0 {
		o.pause(c.lane.fleet.clock())
		c.watch()
	}
}

// resumeRefused ends the pause when it is over.
func (c *Client) resumeRefused() {
	if o := c.outbox; o != nil && o.resume > 0 && c.lane.fleet.clock() >= o.resume {
		o.rewind()
		c.pump()
	}
}

// giveUp makes the client give up for good.
func (c *Client) giveUp() {
	c.phase = gone
	if c.outbox == nil {
		return
	}
	n := len(c.outbox.left())
	c.lane.tally.Unsent += uint64(n)
	c.lane.tally.Waiting -= n
	for range n {
		c.lane.settled()
	}
	c.outbox = nil
}
