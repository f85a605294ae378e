package ws

import (
	"errors"
	"strconv"
	"time"

	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

// Device is one connection of a device that speaks one of the protocols of internal/wire over WebSocket. It belongs to
// its loop; of its methods, those that door.Conn names and Acks are safe from any goroutine.
type Device struct {
	door.Conn
	Socket
	shard    *Shard
	protocol *protocol // nil until the handshake was read
	talk     Talk      // nil until the device is greeted, and unless its protocol is a dialect
}

var _ door.Handler = (*Device)(nil)

// NewDevice returns the handler of a new connection.
func NewDevice(s *Shard) *Device { return &Device{Conn: s.NewConn(nil), shard: s} }

// OnData implements reactor.Handler.
func (d *Device) OnData(_ *reactor.Conn, p []byte) int {
	n := d.OnBytes(d, p, d.shard.server.limits)
	d.CountHandshakeBytes(len(p) - n)
	d.EndFlood(d, d.shard.Shard, n)
	d.AfterRead(n, n < len(p) || d.reader.Unfinished())
	return n
}

// OnClose implements reactor.Handler.
func (d *Device) OnClose(conn *reactor.Conn, err error) {
	d.AfterClose(conn, err)
	d.Ended(d, err)
}

// arrival is what the upgrade request of a device asks for.
type arrival struct {
	target
	protocol    *protocol
	subprotocol string // the name for the answer
	req         *websocket.Request
}

// Open implements Application: it reads the upgrade request and begins the entrance.
func (d *Device) Open(req *websocket.Request) *websocket.HTTPError {
	srv := d.shard.server
	srv.useForwardedFor(d.Transport(), req)
	if subprotocol := srv.other(req); subprotocol != "" {
		return d.handOver(req, subprotocol)
	}
	a, refusal := srv.arrive(req)
	if refusal != nil {
		return refusal
	}
	d.protocol = a.protocol
	shown := srv.credentials(d.Transport(), req, &a.target, a.subprotocol)
	if a.protocol.dialect != nil {
		shown.Password = keyText(shown.Password)
	}
	e := &door.Entrance{
		Conn:        &d.Conn,
		Credentials: shown,
		Options:     a.options,
		Greet:       func(e *door.Entrance) error { return d.greet(a, e) },
	}
	e.Begin()
	return nil
}

// arrive reads the request, which is borrowed.
func (srv *Server) arrive(req *websocket.Request) (a *arrival, refusal *websocket.HTTPError) {
	a = &arrival{req: req.Keep()}
	if !srv.mayComeFrom(req.Origin) {
		return nil, originRefused()
	}
	if a.target, refusal = srv.target(req); refusal != nil {
		return nil, refusal
	}
	if srv.Door.Config.Insecure && a.device == "" {
		return nil, badRequest("The URL names no device: connect at PATH/{device} or PATH?device=ID, such as /connect/{device}.")
	}
	a.protocol, a.subprotocol, refusal = srv.choose(req)
	return a, refusal
}

// greet upgrades the connection. Then it sends hello, subscribes a raw device to its topic, or begins a talk.
func (d *Device) greet(a *arrival, e *door.Entrance) error {
	srv := d.shard.server
	d.Upgrade(d, a.req, &srv.frames, a.subprotocol, srv.Config.Compression)
	e.Accepted("accepted")
	d.SetAlarm(d.HeartbeatAfter())
	s := d.Link().Session()
	if dialect := d.protocol.dialect; dialect != nil {
		d.talk = dialect.Talk(d)
	} else if d.Acks() {
		d.Answer(&wire.Packet{Op: wire.Hello, Hello: wire.Greeting{
			Session:    s.ID(),
			Resumed:    e.Resumed,
			Heartbeat:  srv.Door.Config.Heartbeat,
			MaxPayload: srv.frames.MaxMessage,
			Missed:     e.Missed,
		}, Lifetime: d.Lifetime()})
	} else if err := d.Link().Subscribe("device/"+s.Device()+"/down", message.AtLeastOnce); err != nil {
		why := wire.CloseContract
		if refused := new(wire.Error); errors.As(err, refused) && refused.Code == session.CodeInternal {
			why = wire.CloseInternal
		}
		d.Fail(why.Because(err.Error()))
	}
	return nil
}

// Receive implements Application: it handles one packet of the device.
func (d *Device) Receive(payload []byte, text bool) error {
	if d.talk != nil {
		if err := d.talk.Receive(payload, text); err != nil {
			return err
		}
		d.AfterPacket()
		return nil
	}
	p := &d.shard.packet
	if err := d.protocol.codec.Decode(p, payload, text); err != nil {
		return err
	}
	d.shard.Packets[p.Op]++
	d.shard.CountPacket(p.Op == wire.Pub || p.Op == wire.Call, len(p.Filters))
	if p.Op == wire.Refresh {
		d.refresh(p)
	} else if err := d.Link().Handle(p); err != nil {
		return err
	}
	d.AfterPacket()
	return nil
}

// Plain implements Application.
func (d *Device) Plain(path string) *PlainAnswer {
	srv := d.shard.server
	a := HealthAnswer(path, srv.Door.Ready())
	if path == nodesPath {
		a = srv.nodesAnswer()
	}
	if a != nil {
		d.End()
	}
	return a
}

// Refused implements Application.
func (d *Device) Refused(e *websocket.HTTPError) {
	d.End()
	d.CountRefused(strconv.Itoa(e.Status), e.Reason)
}

// Left implements Application.
func (d *Device) Left(why *wire.Close) {
	d.Detach(why)
	if d.talk != nil {
		d.talk.End()
	}
}

// Acks implements session.Conn.
func (d *Device) Acks() bool { return d.protocol.acks() }

// Send implements session.Conn.
func (d *Device) Send(m *message.Message, q message.QoS) (sent bool) {
	if d.talk != nil {
		return false
	}
	frame := m.Encoded(d.protocol.encoders[q][d.window])
	if len(frame) == 0 {
		return false
	}
	d.shard.Latency.Observe(time.Now().UnixMilli() - m.Time)
	d.Transport().Share(frame)
	return true
}

// Answer implements session.Conn.
func (d *Device) Answer(p *wire.Packet) {
	if d.state != open {
		return
	}
	if d.talk != nil { // it has no packets that are acknowledged
		return
	}
	if p.Op == wire.Ack && p.Of == wire.Pub {
		d.shard.LogRefusal(d.Link(), wire.Pub, &p.Err)
	}
	scratch, err := d.protocol.codec.Append(d.shard.scratch[:0], p)
	if err != nil {
		d.CloseFor(d, wire.CloseInternal.Because(err.Error()))
		return
	}
	d.write(scratch)
}

// Call implements session.Conn.
func (d *Device) Call(p *wire.Packet) (refused string) {
	if d.state != open {
		return session.Ending
	}
	if d.talk != nil {
		return d.talk.Call(p)
	}
	scratch, err := d.protocol.codec.Append(d.shard.scratch[:0], p)
	if err != nil {
		return err.Error()
	}
	d.write(scratch)
	return ""
}

// Reply implements session.Conn.
func (d *Device) Reply(p *wire.Packet) (refused wire.Error) {
	if d.state != open {
		return refused
	}
	if session.RefusedHere(p.Err.Code) {
		d.shard.LogRefusal(d.Link(), wire.Call, &p.Err)
	}
	if d.talk != nil {
		return d.talk.Reply(p)
	}
	scratch, err := d.protocol.codec.Append(d.shard.scratch[:0], p)
	switch {
	case err != nil: // it is not text where it has to be
		return wire.Error{Code: service.InvalidAnswer, Reason: err.Error()}
	case len(scratch) > d.shard.server.frames.MaxMessage:
		return wire.Error{Code: service.TooLarge, Reason: "the answer is larger than gateway.max_payload"}
	}
	d.write(scratch)
	return refused
}

// Shard returns what the loop keeps for all connections.
func (d *Device) Shard() *door.Shard { return d.shard.Shard }

// Scratch returns the loop's empty buffer, to encode a message for Write.
func (d *Device) Scratch() []byte { return d.shard.scratch[:0] }

// Write sends a message of a Talk that was encoded into Scratch.
func (d *Device) Write(message []byte) {
	if d.state == open {
		d.write(message)
	}
}

// write sends a packet that was encoded into the loop's scratch buffer.
func (d *Device) write(packet []byte) {
	d.Transport().Commit(websocket.AppendFrame(d.Transport().Reserve(len(packet)+websocket.MaxHeader), d.protocol.op, packet))
	if cap(packet) <= maxScratch {
		d.shard.scratch = packet
	}
}

// maxScratch is the size of the largest buffer that a loop keeps.
const maxScratch = 64 << 10

// SetReading implements session.Conn. When reading resumes, the device's silence counts from then.
func (d *Device) SetReading(on bool) {
	switch {
	case !on:
		d.HoldReading()
	case d.ReleaseReading():
		d.Resume()
	}
}

// OnAlarm implements reactor.Handler, for the handshake timeout, the heartbeat, and other time limits.
func (d *Device) OnAlarm(conn *reactor.Conn) {
	switch d.state {
	case handshaking:
		d.TimeOut()
	case closing:
		conn.Close()
	case open:
		if !d.StillHeld() {
			d.Check()
		}
	}
}

// Fail implements door.Handler.
func (d *Device) Fail(why error) {
	if d.InHandshake() {
		d.Reject(d, d.shard.server.refusal(why, d.protocol))
	} else {
		d.CloseFor(d, door.CloseOf(why))
	}
}

// CheckAlive implements door.Handler: it pings a silent device, and closes one that stays silent.
func (d *Device) CheckAlive() {
	srv := d.shard.server
	silence := d.Transport().Silence()
	ping := d.HeartbeatAfter()
	switch {
	case d.Transport().Paused(): // the gateway does not read, so silence means nothing
		d.SetAlarm(ping)
	case silence >= srv.Door.Config.HeartbeatTimeout:
		d.CloseFor(d, wire.CloseHeartbeat)
		d.Finish(d) // nobody is there to answer the close frame
	case silence < ping:
		d.SetAlarm(ping - silence)
	default:
		d.Ping(d)
		d.SetAlarm(srv.Door.Config.HeartbeatTimeout - silence)
	}
}

// Protocol implements door.Handler.
func (d *Device) Protocol() string { return d.protocol.name }
