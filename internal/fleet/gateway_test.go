package fleet

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script says how a fake gateway behaves. It does as a real one does where a field is nil.
type script struct {
	heartbeat  time.Duration
	maxPayload int
	mute       bool // never sends hello
	deaf       bool // never answers a ping

	refuse func(attempt int) *websocket.HTTPError
	hello  func(p *peer)                      // after the hello
	pub    func(p *peer, pub *wire.Packet)    // instead of recording and acknowledging it
	other  func(p *peer, packet *wire.Packet) // ack, reply, sub of the device
	pong   func(p *peer)
}

// fakeGateway is the fleet's gateway in one test.
type fakeGateway struct {
	t      *testing.T
	script script
	group  *reactor.Group

	mu       sync.Mutex
	attempts map[string]int      // upgrades, by device
	taken    map[string][]string // payloads of publications that were acknowledged, in order
	upgrades []string            // Authorization header of each
}

// peer is one connection. Its methods run on its loop.
type peer struct {
	g       *fakeGateway
	conn    *reactor.Conn
	device  string
	attempt int // from 1
	codec   wire.Codec
	reader  websocket.Reader
	seen    int // publications
}

var serverFrames websocket.Config

func newGateway(t *testing.T, s script) *fakeGateway {
	t.Helper()
	g := &fakeGateway{t: t, script: s, attempts: make(map[string]int), taken: make(map[string][]string)}
	var err error
	g.group, err = reactor.Start(reactor.Config{
		Listen:     "127.0.0.1:0",
		Loops:      1,
		NewHandler: func(*reactor.Loop) reactor.Handler { return &peer{g: g} },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.group.Close)
	return g
}

// run runs a fleet against the gateway, for a minute at most.
func (g *fakeGateway) run(config Config) (Report, error) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	defer cancel()
	return g.runUntil(ctx, config)
}

func (g *fakeGateway) runUntil(ctx context.Context, config Config) (Report, error) {
	g.t.Helper()
	config.Gateway = "ws://" + g.group.Addr().String()
	config.Reconnect.Min = cmp.Or(config.Reconnect.Min, time.Millisecond)
	return Run(ctx, config, nil)
}

func (p *peer) OnOpen(c *reactor.Conn)           { p.conn = c }
func (p *peer) OnAlarm(*reactor.Conn)            {}
func (p *peer) OnDrained(*reactor.Conn)          {}
func (p *peer) OnClose(_ *reactor.Conn, _ error) { p.reader.Release() }
func (p *peer) OnData(_ *reactor.Conn, b []byte) int {
	used := 0
	if p.codec == nil {
		if used = p.upgrade(b); used == 0 {
			return 0
		}
	}
	for {
		n, event, err := p.reader.Next(b[used:])
		used += n
		if err != nil {
			p.g.t.Errorf("a frame of %s: %v", p.device, err)
			p.conn.Close()
			return len(b)
		}
		if event.Op == websocket.Continuation || p.conn.Closed() {
			return used
		}
		p.handle(&event)
	}
}

func (p *peer) upgrade(b []byte) int {
	var req websocket.Request
	n, err := websocket.ParseRequest(b, &req, websocket.Limits{})
	if err != nil {
		p.g.t.Errorf("upgrade: %v", err)
		p.conn.Close()
	}
	if n == 0 {
		return 0
	}
	_, p.device, _ = strings.Cut(string(req.RawQuery), "device=")
	p.attempt = p.g.attempted(p.device, string(req.Authorization))
	if refuse := p.g.script.refuse; refuse != nil {
		if e := refuse(p.attempt); e != nil {
			p.conn.Commit(websocket.AppendHTTPError(p.conn.Reserve(512), e))
			p.conn.Finish()
			return 0
		}
	}
	for name := range req.Protocols {
		switch string(name) {
		case wire.JSON.Name():
			p.codec = wire.JSON
		case wire.Protobuf.Name():
			p.codec = wire.Protobuf
		default:
			p.codec = wire.NewRaw(string(name))
		}
	}
	p.conn.Commit(websocket.AppendUpgrade(p.conn.Reserve(512), &req, p.codec.Name(), false))
	p.reader.Init(&serverFrames, false)
	p.greet()
	return n
}

func (g *fakeGateway) attempted(device, authorization string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.attempts[device]++
	g.upgrades = append(g.upgrades, authorization)
	return g.attempts[device]
}

func (p *peer) greet() {
	s := &p.g.script
	if s.mute {
		return
	}
	if p.codec.Acks() {
		heartbeat := max(s.heartbeat, time.Second)
		p.send(&wire.Packet{Op: wire.Hello, Hello: wire.Greeting{Session: "s", Heartbeat: heartbeat, MaxPayload: s.maxPayload}})
	}
	if s.hello != nil {
		s.hello(p)
	}
}

func (p *peer) handle(e *websocket.Event) {
	switch e.Op {
	case websocket.Ping:
		if !p.g.script.deaf {
			p.conn.Write(websocket.AppendFrame(nil, websocket.Pong, e.Payload))
		}
	case websocket.Pong:
		if p.g.script.pong != nil {
			p.g.script.pong(p)
		}
	case websocket.Close:
		p.close(e.Code, "")
	default:
		p.receive(e)
	}
}

func (p *peer) receive(e *websocket.Event) {
	var packet wire.Packet
	if err := p.codec.Decode(&packet, e.Payload, e.Op == websocket.Text); err != nil {
		p.g.t.Errorf("a packet of %s: %v", p.device, err)
		return
	}
	s := &p.g.script
	switch {
	case packet.Op != wire.Pub:
		if s.other != nil {
			s.other(p, &packet)
		}
	case s.pub != nil:
		p.seen++
		s.pub(p, &packet)
	default:
		p.take(&packet)
	}
}

// take records a publication and acknowledges it.
func (p *peer) take(pub *wire.Packet) {
	if want := "device/" + p.device + "/telemetry"; pub.Message.Topic != want {
		p.g.t.Errorf("topic %q, want %q", pub.Message.Topic, want)
	}
	p.g.mu.Lock()
	p.g.taken[p.device] = append(p.g.taken[p.device], string(pub.Message.Payload))
	p.g.mu.Unlock()
	if pub.Message.QoS == message.AtLeastOnce {
		p.ack(pub.ID, "")
	}
}

// got returns the payloads that were acknowledged to a device.
func (g *fakeGateway) got(device string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.taken[device])
}

func (p *peer) ack(id uint64, code string) {
	p.send(&wire.Packet{Op: wire.Ack, ID: id, Err: wire.Error{Code: code}})
}

func (p *peer) send(packet *wire.Packet) {
	b, err := p.codec.Append(nil, packet)
	if err != nil {
		p.g.t.Error(err)
	}
	op := websocket.Binary
	if p.codec.Text() {
		op = websocket.Text
	}
	p.conn.Write(websocket.AppendFrame(nil, op, b))
}

func (p *peer) close(code uint16, reason string) {
	p.conn.Write(websocket.AppendClose(nil, code, reason))
	p.conn.Finish()
}

// unique drops repeated payloads: QoS 1 may deliver twice.
func unique(all []string) (out []string) {
	seen := make(map[string]bool)
	for _, s := range all {
		if !seen[s] {
			out = append(out, s)
		}
		seen[s] = true
	}
	return out
}
