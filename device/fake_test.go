package device

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world runs test for each protocol, in a bubble with a virtual clock. The device dials a
// fake gateway over in-memory pipes.
func world(t *testing.T, test func(t *testing.T, g *gateway)) {
	t.Helper()
	for _, p := range []Protocol{JSON, Protobuf} {
		t.Run(p.codec().Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t, p)
				defer g.stop()
				test(t, g)
			})
		})
	}
}

// gateway is a fake gateway: the test scripts its packets.
type gateway struct {
	t        *testing.T
	protocol Protocol
	server   *http.Server
	pipes    chan net.Conn
	stopped  context.Context
	stop     context.CancelFunc
	refuse   func(w http.ResponseWriter) bool // writes a refusal, or lets the upgrade pass
	accepted chan *peer
}

func newGateway(t *testing.T, p Protocol) *gateway {
	g := &gateway{t: t, protocol: p, pipes: make(chan net.Conn), accepted: make(chan *peer, 16)}
	g.stopped, g.stop = context.WithCancel(t.Context())
	g.refuse = func(http.ResponseWriter) bool { return false }
	g.server = &http.Server{Handler: g}
	go func() { _ = g.server.Serve(g) }() // until it is closed
	context.AfterFunc(g.stopped, func() { g.server.Close() })
	return g
}

// The gateway is also the net.Listener of its HTTP server.
func (g *gateway) Accept() (net.Conn, error) {
	select {
	case c := <-g.pipes:
		return c, nil
	case <-g.stopped.Done():
		return nil, net.ErrClosed
	}
}
func (g *gateway) Close() error   { return nil }
func (g *gateway) Addr() net.Addr { return &net.UnixAddr{Name: "fake"} }

func (g *gateway) dialPipe(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case g.pipes <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.refuse(w) {
		return
	}
	p := &peer{t: g.t, codec: g.protocol.codec(), request: r, inbound: make(chan *wire.Packet, 1000)}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{p.codec.Name()},
		OnPingReceived: func(context.Context, []byte) bool {
			p.pings.Add(1)
			return !p.muted.Load()
		},
	})
	if err != nil {
		g.t.Errorf("upgrade: %v", err)
		return
	}
	p.ws = ws
	g.accepted <- p
	p.ended = p.read(g.stopped)
	close(p.inbound)
}

// options completes o so that the device dials g.
func (g *gateway) options(o Options) *Options {
	o.Protocol = g.protocol
	o.HTTPClient = &http.Client{Transport: &http.Transport{DialContext: g.dialPipe, DisableKeepAlives: true}}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(g.t.Output(), nil))
	}
	return &o
}

// dial returns a device and its connection, after hello.
func (g *gateway) dial(o Options) (*Device, *peer) {
	g.t.Helper()
	type result struct {
		d   *Device
		err error
	}
	dialled := make(chan result, 1)
	go func() {
		d, err := Dial(g.t.Context(), "ws://fake", g.options(o))
		dialled <- result{d, err}
	}()
	p := g.accept(false)
	r := <-dialled
	if r.err != nil {
		g.t.Fatal(r.err)
	}
	return r.d, p
}

// accept accepts the next connection and sends hello.
func (g *gateway) accept(resumed bool) *peer {
	g.t.Helper()
	p := <-g.accepted
	p.send(&wire.Packet{Op: wire.Hello, Hello: wire.Greeting{
		Session: "s1", Resumed: resumed, Heartbeat: 30 * time.Second, MaxPayload: 1 << 16,
	}})
	return p
}

// peer is the gateway's end of one connection.
type peer struct {
	t       *testing.T
	codec   wire.Codec
	request *http.Request
	ws      *websocket.Conn
	inbound chan *wire.Packet
	ended   error       // why reading ended; valid when inbound is closed
	muted   atomic.Bool // does not answer pings
	pings   atomic.Int32
}

func (p *peer) read(ctx context.Context) error {
	defer func() { _ = p.ws.CloseNow() }()
	for {
		kind, frame, err := p.ws.Read(ctx)
		if err != nil {
			return err
		}
		packet := new(wire.Packet)
		if err := p.codec.Decode(packet, frame, kind == websocket.MessageText); err != nil {
			p.t.Errorf("the device sent %q: %v", frame, err)
			return err
		}
		p.inbound <- packet
	}
}

func (p *peer) send(packet *wire.Packet) {
	p.t.Helper()
	frame, err := p.codec.Append(nil, packet)
	if err != nil {
		p.t.Fatal(err)
	}
	kind := websocket.MessageBinary
	if p.codec.Text() {
		kind = websocket.MessageText
	}
	if err := p.ws.Write(p.t.Context(), kind, frame); err != nil {
		p.t.Fatal(err)
	}
}

// next returns the next packet, whose op must be op.
func (p *peer) next(op wire.Op) *wire.Packet {
	p.t.Helper()
	packet, ok := <-p.inbound
	if !ok {
		p.t.Fatalf("the connection ended: %v; want a packet of op %d", p.ended, op)
	}
	if packet.Op != op {
		p.t.Fatalf("packet %+v, want op %d", packet, op)
	}
	return packet
}

// none asserts that the device sends nothing more by itself.
func (p *peer) none() {
	p.t.Helper()
	synctest.Wait()
	select {
	case packet, ok := <-p.inbound:
		if ok {
			p.t.Fatalf("unexpected packet %+v", packet)
		}
	default:
	}
}

func (p *peer) ack(id uint64) { p.send(&wire.Packet{Op: wire.Ack, ID: id}) }

func (p *peer) refuse(id uint64, code, reason string) {
	p.send(&wire.Packet{Op: wire.Ack, ID: id, Err: wire.Error{Code: code, Reason: reason}})
}

// publish sends a msg; id 0 means QoS 0.
func (p *peer) publish(id uint64, topic, payload string) {
	packet := &wire.Packet{Op: wire.Msg, ID: id}
	packet.Message.Topic, packet.Message.Payload = topic, []byte(payload)
	if id != 0 {
		packet.Message.QoS = message.AtLeastOnce
	}
	p.send(packet)
}

// cut ends the connection without a close frame.
func (p *peer) cut() {
	_ = p.ws.CloseNow()
	p.drain()
}

// drain waits for the end of the connection.
func (p *peer) drain() {
	for range p.inbound {
	}
}

// close closes d and asserts that there was no error.
func (g *gateway) close(d *Device) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Hour) // of the bubble's clock
	defer cancel()
	if err := d.Close(ctx); err != nil {
		g.t.Errorf("Close: %v", err)
	}
}

// receive returns the next value of ch.
func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(time.Hour): // of the bubble's clock
		t.Fatal("nothing came")
		panic("unreachable")
	}
}
