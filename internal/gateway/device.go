package gateway

import (
	"strings"
	"time"

	"github.com/longline/longline/internal/auth"
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
	protocol *protocol // nil until the handshake is accepted
}

// newDevice is the handler of a connection that was accepted.
func newDevice(s *shard) *device { return &device{connection: connection{shard: s}} }

// OnData implements reactor.Handler.
func (d *device) OnData(_ *reactor.Conn, p []byte) int {
	n := d.onData(d, p, d.shard.gateway.limits)
	if d.state == shaking {
		if no := d.shard.holds(d.conn, len(p)-n); no != nil {
			d.refuse(d, no.http())
			return len(p)
		}
	}
	d.endFlood(d, d.shard, n)
	d.afterRead(n, n < len(p) || d.reader.Unfinished())
	return n
}

// OnClose implements reactor.Handler.
func (d *device) OnClose(conn *reactor.Conn, err error) {
	d.shard.exit(conn)
	if d.state == shaking {
		d.shard.handshakes["incomplete"]++
	}
	d.ended(d, err)
}

// arrival is a device at the door: its handshake, while its credentials are verified.
type arrival struct {
	target
	protocol    *protocol
	subprotocol string // as it is named in the answer
	req         *websocket.Request
}

// open implements application: it reads what the upgrade request says, and has the device
// verified. Nothing more is read until its answer is there.
func (d *device) open(req *websocket.Request) *websocket.HTTPError {
	g := d.shard.gateway
	if g.draining.Load() {
		return unavailable("The gateway is being drained.")
	}
	g.heardOf(d.conn, req)
	if subprotocol := g.protocols.mqttOffered(req); subprotocol != "" {
		return d.speakMQTT(req, subprotocol)
	}
	a, refusal := g.arrive(req)
	if refusal != nil {
		return refusal
	}
	credentials := g.credentials(d.conn, req, &a.target, a.subprotocol)
	d.shard.enter(d.conn, credentials, func(no *denied) { d.entered(a, credentials, no) })
	if d.state == shaking {
		d.conn.PauseReading()
	}
	return nil
}

// entered has the device verified, if the node takes it.
func (d *device) entered(a *arrival, c *auth.Credentials, no *denied) {
	switch {
	case d.state != shaking:
	case no != nil:
		d.conn.ResumeReading()
		d.refuse(d, no.http())
	default:
		d.shard.gateway.admission.verify(d.conn, c, func(i *auth.Identity, err error) { d.verified(a, i, err) })
	}
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

// verified answers the handshake, unless that has ended meanwhile.
func (d *device) verified(a *arrival, i *auth.Identity, err error) {
	d.shard.verified(d.conn)
	if d.state != shaking {
		return
	}
	d.conn.ResumeReading()
	if err != nil {
		d.refuse(d, d.shard.gateway.refusal(err))
		return
	}
	if refusal := d.admit(a, i); refusal != nil {
		d.refuse(d, refusal)
	}
}

// admit ties the device to its session and upgrades the connection.
func (d *device) admit(a *arrival, i *auth.Identity) *websocket.HTTPError {
	g := d.shard.gateway
	if g.draining.Load() {
		return unavailable("The gateway is being drained.")
	}
	id := strings.Clone(i.Device) // it may be a piece of a credential
	if no := d.shard.shortOf(id); no != nil {
		return d.shard.count(no).http()
	}
	d.protocol = a.protocol
	credential := newCredential(i, !d.Acks())
	a.options.Permissions, a.options.Credential = credential.session(), credential.owner()
	resumed, missed, err := g.sessions.Attach(id, &d.link, d, a.options)
	if no := deny(err); no != nil {
		return d.shard.count(no).http()
	}
	if err != nil {
		return unavailable("No room for the device: " + err.Error() + ".")
	}
	d.phase = attached
	d.upgrade(d, a.req, &g.frames, a.subprotocol, g.config.Compression)
	d.shard.handshakes["accepted"]++
	d.setAlarm(g.heartbeatAfter(d.conn))
	d.greet(resumed, missed)
	return nil
}

// greet says hello, subscribes a raw device to its topic, and sends what is owed.
func (d *device) greet(resumed bool, missed uint64) {
	g := d.shard.gateway
	s := d.link.Session()
	if d.Acks() {
		d.Answer(&wire.Packet{Op: wire.Hello, Hello: wire.Greeting{
			Session:    s.ID(),
			Resumed:    resumed,
			Heartbeat:  g.config.Heartbeat,
			MaxPayload: g.frames.MaxMessage,
			Missed:     missed,
		}, Lifetime: credentialOf(&d.link).lifetime()})
	} else if err := d.link.Subscribe("device/"+s.Device()+"/down", message.AtLeastOnce); err != nil {
		d.close(d, wire.CloseContract.Because(err.Error()))
		return
	}
	d.flush()
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
func (d *device) refused(status int) { d.shard.refused(status) }

// left implements application.
func (d *device) left(why string) { d.leave(why) }

// Acks implements session.Conn.
func (d *device) Acks() bool { return d.protocol.codec.Acks() }

// Send implements session.Conn.
func (d *device) Send(m *message.Message, q message.QoS) {
	frame := m.Encoded(d.protocol.encoders[q][d.window])
	if len(frame) == 0 {
		d.shard.gateway.router.Drops.Add(router.Refused, 1)
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
		if no := d.shard.late(conn); no != nil {
			d.refuse(d, no.http())
			return
		}
		d.refuse(d, &websocket.HTTPError{Status: 408, Reason: "The handshake took too long."})
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
		d.refuse(d, unavailable("The gateway is being drained."))
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
