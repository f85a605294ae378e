package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/command"
	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/ledger"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a node without a network below: real sessions and router, scripted devices, and
// the API served on a port of its own.
type world struct {
	router   *router.Router
	commands *command.Manager
	sessions *session.Manager
	ledger   *ledger.Keeper
	gateway  *fakeGateway
	api      *API
	url      string
	h1, h2   *http.Client
	observed chan observation
	kept     []auth.Bearer // by Keep
	keeping  error         // of Keep
}

// Keep implements Revocations.
func (w *world) Keep(_ context.Context, b auth.Bearer, _ time.Time) error {
	if w.keeping == nil {
		w.kept = append(w.kept, b)
	}
	return w.keeping
}

type observation struct{ procedure, code string }

func newWorld(t testing.TB, c Config, rc router.Config) *world {
	t.Helper()
	return newWorldIn(t, c, rc, nil)
}

// newWorldIn is newWorld for a node of a cluster.
func newWorldIn(t testing.TB, c Config, rc router.Config, cluster Cluster) *world {
	t.Helper()
	memory := store.NewMemory(store.Options{Queue: store.Limits{Count: 2}})
	commands := command.Open(command.Config{PerDevice: 3, MaxPayload: 500, MaxTTL: time.Hour, TTL: time.Minute}, memory, nil, slog.Default())
	sc := session.Config{MaxCalls: 1, Commands: commands}
	w := &world{commands: commands, router: router.New(rc, memory), gateway: new(fakeGateway), observed: make(chan observation, 1024)}
	w.gateway.ready.Store(true)
	var err error
	if w.sessions, err = session.NewManager(sc, w.router, memory, memory); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.sessions.Close)
	commands.Start(w.sessions)
	t.Cleanup(commands.Close)
	w.ledger = ledger.Start(ledger.Options{Sources: []func(context.Context, *ledger.Node) error{w.sessions.AddLedger, w.router.AddLedger}})
	t.Cleanup(w.ledger.Close)
	c.Address = "127.0.0.1:0"
	n := w.node(t)
	if n.Cluster = cluster; cluster != nil {
		n.Revocations = w
	}
	w.api = New(c, n)
	w.serve(t)
	return w
}

// node is what the API is of.
func (w *world) node(t testing.TB) Node {
	return Node{
		Devices:  w.sessions.Local(w.gateway.Peers),
		Router:   w.router,
		Gateway:  w.gateway,
		Ledger:   w.ledger,
		Commands: w.commands,
		Metrics:  respond(http.StatusOK, "up 1\n"),
		Checks:   []Check{{"devices", w.gateway.drains}, {"store", func() error { return nil }}},
		Observe: func(procedure, code string, seconds float64) {
			if seconds < 0 {
				t.Errorf("%s took %v s", procedure, seconds)
			}
			select {
			case w.observed <- observation{procedure, code}:
			default:
			}
		},
	}
}

func (w *world) serve(t testing.TB) {
	t.Helper()
	s, err := Listen(t.Context(), w.api)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	w.url = "http://" + s.Addr().String()
	w.h1, w.h2 = httpClient(false), httpClient(true)
	t.Cleanup(func() {
		w.h1.CloseIdleConnections()
		w.h2.CloseIdleConnections()
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func httpClient(two bool) *http.Client {
	p := new(http.Protocols)
	p.SetHTTP1(!two)
	p.SetUnencryptedHTTP2(two)
	return &http.Client{Transport: &http.Transport{Protocols: p}}
}

// client returns a client that uses gRPC, gRPC-Web, or HTTP with JSON.
func (w *world) client(protocol string) longlinev1connect.GatewayClient {
	switch protocol {
	case "grpc":
		return longlinev1connect.NewGatewayClient(w.h2, w.url, connect.WithGRPC())
	case "grpc-web":
		return longlinev1connect.NewGatewayClient(w.h1, w.url, connect.WithGRPCWeb())
	}
	return longlinev1connect.NewGatewayClient(w.h1, w.url, connect.WithProtoJSON())
}

func eachProtocol(t *testing.T, test func(t *testing.T, w *world, c longlinev1connect.GatewayClient)) {
	for _, protocol := range []string{"grpc", "grpc-web", "json"} {
		t.Run(protocol, func(t *testing.T) {
			w := newWorld(t, Config{MaxPayload: 1000, MaxPageSize: 3}, router.Config{})
			test(t, w, w.client(protocol))
		})
	}
}

// ended waits until the API has told of a request's end.
func (w *world) ended(t *testing.T, procedure string) (code string) {
	t.Helper()
	for o := range w.observed {
		if o.procedure == procedure {
			return o.code
		}
	}
	return ""
}

// fakeGateway is a scripted Gateway.
type fakeGateway struct {
	ready   atomic.Bool
	drained atomic.Bool
	asked   atomic.Int32 // for peers
	revoked []string
}

var errDrain = errors.New("a connection does not end")

func (g *fakeGateway) Peers(_ context.Context, conns []session.Conn) []devices.Peer {
	g.asked.Add(1)
	peers := make([]devices.Peer, len(conns))
	for i, c := range conns {
		if d, ok := c.(*fakeDevice); ok && !d.raw {
			peers[i] = devices.Peer{Addr: netip.MustParseAddrPort("[::ffff:192.0.2.7]:4321"), Protocol: "longline.v1.json"}
		}
	}
	return peers
}

func (g *fakeGateway) Drain(context.Context) error {
	if !g.ready.Swap(false) {
		return errDrain
	}
	g.drained.Store(true)
	return nil
}

func (g *fakeGateway) Revoke(b auth.Bearer, until time.Time) (int, error) {
	name := b.Device
	if b.Credential != "" {
		name = "credential " + b.Credential
	}
	if name == "none" {
		return 0, auth.ErrNothingShown
	}
	g.revoked = append(g.revoked, name+" until "+until.UTC().Format(time.DateOnly))
	return 1, nil
}

// drains is a Check.
func (g *fakeGateway) drains() error {
	if !g.ready.Load() {
		return errors.New("draining")
	}
	return nil
}

// fakeDevice is a connection with a loop of its own, which acknowledges what it gets.
type fakeDevice struct {
	// Static after construction.
	link   session.Link
	raw    bool // its protocol has no calls
	deaf   bool // it takes messages and does not acknowledge them
	reply  func(call *wire.Packet) *wire.Packet
	loop   chan func()
	shared *session.Loop
	got    chan *message.Message
	closed chan *wire.Close
	once   sync.Once
}

// connect attaches a device that subscribes to filters with QoS 1.
func (w *world) connect(t testing.TB, id string, d *fakeDevice, filters ...string) *fakeDevice {
	t.Helper()
	d.loop, d.got = make(chan func(), 1024), make(chan *message.Message, 1024)
	d.closed = make(chan *wire.Close, 1)
	d.shared = session.NewLoop(0, d.Do)
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		for f := range d.loop {
			f()
		}
	}()
	t.Cleanup(func() {
		w.leave(d)
		close(d.loop)
		<-ran
	})
	err := errors.New("Attach has not called back")
	w.sessions.Attach(id, &d.link, d, session.Options{}, func(_ session.Attached, e error) { err = e })
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range filters {
		if err := d.link.Subscribe(f, message.AtLeastOnce); err != nil {
			t.Fatal(err)
		}
	}
	d.Wake()
	return d
}

// leave ends the device's connection.
func (w *world) leave(d *fakeDevice) {
	d.once.Do(func() {
		done := make(chan struct{})
		d.loop <- func() { w.sessions.Detach(&d.link, "gone"); close(done) }
		<-done
	})
}

func (d *fakeDevice) Wake()                 { d.loop <- func() { d.link.Flush(true) } }
func (d *fakeDevice) Close(why *wire.Close) { d.closed <- why }
func (d *fakeDevice) Do(f func()) bool      { d.loop <- f; return true }
func (d *fakeDevice) Room() bool            { return true }
func (d *fakeDevice) Loop() *session.Loop   { return d.shared }
func (d *fakeDevice) SetReading(bool)       {}
func (d *fakeDevice) Acks() bool            { return !d.raw }

func (d *fakeDevice) Send(m *message.Message, q message.QoS) bool {
	d.got <- m
	if q == message.AtLeastOnce && !d.deaf {
		d.loop <- func() { _ = d.link.Handle(&wire.Packet{Op: wire.Ack, ID: m.ID}) }
	}
	return true
}

func (d *fakeDevice) Answer(*wire.Packet) {}

func (d *fakeDevice) Reply(*wire.Packet) (e wire.Error) { return e }

func (d *fakeDevice) Call(p *wire.Packet) (refused string) {
	if d.reply == nil {
		return ""
	}
	if answer := d.reply(p); answer != nil {
		answer.Op, answer.ID = wire.Reply, p.ID
		d.loop <- func() { _ = d.link.Handle(answer) }
	}
	return ""
}
