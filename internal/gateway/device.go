package gateway

import (
	"strconv"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

// device is one connection of a device that speaks one of the protocols of internal/wire over WebSocket. It belongs
// to its loop; of its methods, those that connection names and Acks are safe from any goroutine.
type device struct {
	connection
	socket
	protocol *protocol // nil until the handshake has come
}

// newDevice is the handler of a connection that was accepted.
func newDevice(s *shard) *device { return &device{connection: connection{shard: s}} }

// OnData implements reactor.Handler.
func (d *device) OnData(_ *reactor.Conn, p []byte) int {
	n := d.onData(d, p, d.shard.gateway.limits)
	d.keeps(len(p) - n)
	d.endFlood(d, d.shard, n)
	d.afterRead(n, n < len(p) || d.reader.Unfinished())
	return n
}

// OnClose implements reactor.Handler.
func (d *device) OnClose(conn *reactor.Conn, err error) {
	d.shard.exit(conn)
	if d.state == shaking {
		d.shard.handshakes["incomplete"]++
		d.refusing("incomplete", "")
	}
	d.ended(d, err)
	d.phase = ended
}

// arrival is what the upgrade request of a device says.
type arrival struct {
	target
	protocol    *protocol
	subprotocol string // as it is named in the answer
	req         *websocket.Request
}

// open implements application: it reads what the upgrade request says, and has the device
// enter.
func (d *device) open(req *websocket.Request) *websocket.HTTPError {
	g := d.shard.gateway
	g.heardOf(d.conn, req)
	if subprotocol := g.protocols.mqttOffered(req); subprotocol != "" {
		return d.speakMQTT(req, subprotocol)
	}
	a, refusal := g.arrive(req)
	if refusal != nil {
		return refusal
	}
	d.protocol = a.protocol
	e := &entrance{
		connection:  &d.connection,
		credentials: g.credentials(d.conn, req, &a.target, a.subprotocol),
		options:     a.options,
		greet:       func(e *entrance) error { return d.greet(a, e) },
	}
	e.enter()
	return nil
}

// arrive reads the request, which is borrowed.
func (g *Gateway) arrive(req *websocket.Request) (a *arrival, refusal *websocket.HTTPError) {
	a = &arrival{req: req.Keep()}
	if !g.mayComeFrom(req.Origin) {
		return nil, &websocket.HTTPError{Status: 403, Reason: "Pages of this origin may not connect."}
	}
	if a.target, refusal = parseTarget(req, g.config.Paths); refusal != nil {
		return nil, refusal
	}
	if g.config.Insecure && a.device == "" {
		return nil, badRequest("The device is not named: connect at PATH/{device} or PATH?device=ID, such as /connect/{device}.")
	}
	a.protocol, a.subprotocol, refusal = g.protocols.choose(req, g.config.DefaultProtocol)
	return a, refusal
}

// greet upgrades the connection and says hello, or subscribes a raw device to its topic.
func (d *device) greet(a *arrival, e *entrance) error {
	g := d.shard.gateway
	d.upgrade(d, a.req, &g.frames, a.subprotocol, g.config.Compression)
	e.open("accepted")
	d.setAlarm(g.heartbeatAfter(d.conn))
	s := d.link.Session()
	if d.Acks() {
		d.Answer(&wire.Packet{Op: wire.Hello, Hello: wire.Greeting{
			Session:    s.ID(),
			Resumed:    e.resumed,
			Heartbeat:  g.config.Heartbeat,
			MaxPayload: g.frames.MaxMessage,
			Missed:     e.missed,
		}, Lifetime: credentialOf(&d.link).lifetime()})
	} else if err := d.link.Subscribe("device/"+s.Device()+"/down", message.AtLeastOnce); err != nil {
		d.fail(wire.CloseContract.Because(err.Error()))
	}
	return nil
}

// receive implements application: one packet of the device.
func (d *device) receive(payload []byte, text bool) error {
	p := &d.shard.packet
	if err := d.protocol.codec.Decode(p, payload, text); err != nil {
		return err
	}
	d.shard.packets[p.Op]++
	d.shard.note(p.Op == wire.Pub, len(p.Filters))
	if p.Op == wire.Refresh {
		d.refresh(p)
		return nil
	}
	err := d.link.Handle(p)
	if err == nil {
		d.afterPacket()
	}
	return err
}

// ready implements application.
func (d *device) ready() bool { return d.shard.gateway.Ready() }

// refused implements application.
func (d *device) refused(e *websocket.HTTPError) {
	d.phase = ended
	status := strconv.Itoa(e.Status)
	d.shard.handshakes["refused_"+status]++
	d.refusing(status, e.Reason)
}

// left implements application.
func (d *device) left(why *wire.Close) { d.leave(why) }

// Acks implements session.Conn.
func (d *device) Acks() bool { return d.protocol.codec.Acks() }

// Send implements session.Conn.
func (d *device) Send(m *message.Message, q message.QoS) {
	frame := m.Encoded(d.protocol.encoders[q][d.window])
	if len(frame) == 0 {
		d.shard.gateway.router.Drop(m, d.link.Session().Device(), router.Refused, 1)
		return
	}
	d.shard.latency.observe(time.Now().UnixMilli() - m.Time)
	d.conn.Share(frame)
}

// Answer implements session.Conn.
func (d *device) Answer(p *wire.Packet) {
	if d.state != open {
		return
	}
	if p.Op == wire.Ack && p.Of == wire.Pub {
		d.shard.logRefusal(&d.link, &p.Err)
	}
	scratch, err := d.protocol.codec.Append(d.shard.scratch[:0], p)
	if err != nil {
		d.close(d, wire.CloseInternal.Because(err.Error()))
		return
	}
	d.conn.Commit(websocket.AppendFrame(d.conn.Reserve(len(scratch)+websocket.MaxHeader), d.protocol.op, scratch))
	if cap(scratch) <= maxScratch {
		d.shard.scratch = scratch
	}
}

// maxScratch is the largest packet for which a loop keeps room.
const maxScratch = 64 << 10

// SetReading implements session.Conn. The silence of a device that was not listened to counts from now, and the
// heartbeat goes on.
func (d *device) SetReading(on bool) {
	switch {
	case !on:
		hold(d.conn, heldBySession)
	case d.shard.release(d.conn, heldBySession):
		d.resume()
	}
}

// OnAlarm implements reactor.Handler: the heartbeat, and what takes too long.
func (d *device) OnAlarm(conn *reactor.Conn) {
	switch d.state {
	case shaking:
		d.timeOut()
	case closing:
		conn.Close()
	case open:
		if !d.stillHeld() {
			d.beat()
		}
	}
}

// fail implements handler.
func (d *device) fail(why error) {
	if d.state == shaking {
		d.reject(d, d.shard.gateway.refusal(why))
	} else {
		d.close(d, closeOf(why))
	}
}

// listen implements handler: it pings a device that has been silent, and closes one that stays
// so.
func (d *device) listen() {
	g := d.shard.gateway
	silence := d.conn.Silence()
	ping := g.heartbeatAfter(d.conn)
	switch {
	case d.conn.Paused(): // it is we who do not listen
		d.setAlarm(ping)
	case silence >= g.config.HeartbeatTimeout:
		d.close(d, wire.CloseHeartbeat)
		d.finish(d) // nobody is there to answer the close frame
	case silence < ping:
		d.setAlarm(ping - silence)
	default:
		d.ping(d)
		d.setAlarm(g.config.HeartbeatTimeout - silence)
	}
}

// heartbeatAfter is the silence after which a connection is pinged: the configured one, or
// up to a tenth more, each connection its own, so that pings never come in waves.
func (g *Gateway) heartbeatAfter(conn *reactor.Conn) time.Duration {
	return g.config.Heartbeat + apart(conn, min(g.config.Heartbeat/10, (g.config.HeartbeatTimeout-g.config.Heartbeat)/2))
}
