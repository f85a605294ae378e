package gateway

import (
	"errors"
	"net/netip"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

// crowd is very many devices on the client side of event loops.
type crowd struct {
	t       testing.TB
	size    int
	gateway netip.AddrPort
	group   *reactor.Group
	members [][]*member // by loop

	greeted, pinged gate
	news            [2]gate // by QoS
}

// gate is passed once all have arrived.
type gate struct {
	left   atomic.Int64
	passed chan struct{}
}

func (g *gate) expect(n int) {
	g.left.Store(int64(n))
	g.passed = make(chan struct{})
}

func (g *gate) arrive() {
	if g.left.Add(-1) == 0 {
		close(g.passed)
	}
}

func (g *gate) await(t testing.TB, what string) {
	t.Helper()
	select {
	case <-g.passed:
	case <-time.After(2 * patience):
		t.Fatalf("%s: %d are missing", what, g.left.Load())
	}
}

// member is one device. It belongs to its loop.
type member struct {
	crowd  *crowd
	name   string
	reader websocket.Reader
	shaken bool
	pings  int
	news   [2]int // messages by QoS
	lost   error
}

// dialsAtOnce is how many handshakes a loop of the crowd has under way.
const dialsAtOnce = 100

// newCrowd makes the devices and starts to connect them.
func newCrowd(t testing.TB, gateway netip.AddrPort, size, maxConnections int) *crowd {
	t.Helper()
	c := &crowd{t: t, size: size, gateway: gateway}
	for _, g := range []*gate{&c.greeted, &c.pinged, &c.news[0], &c.news[1]} {
		g.expect(size)
	}
	var err error
	if c.group, err = reactor.Start(reactor.Config{Loops: 2, MaxConnections: maxConnections}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.group.Close)
	loops := c.group.Loops()
	c.members = make([][]*member, len(loops))
	for i := range size {
		at := i % len(loops)
		c.members[at] = append(c.members[at], &member{crowd: c, name: "d" + strconv.Itoa(i)})
	}
	return c
}

func (c *crowd) connect() {
	c.group.Each(func(l *reactor.Loop) {
		next := 0
		l.Local = func() { // dials the next one
			if next < len(c.members[l.Index()]) {
				next++
				if _, err := l.Dial(c.gateway, netip.Addr{}, c.members[l.Index()][next-1]); err != nil {
					c.t.Error(err)
				}
			}
		}
		for range dialsAtOnce {
			l.Local.(func())()
		}
	})
}

func (m *member) OnOpen(c *reactor.Conn) { c.Write([]byte(upgrade("/connect/" + m.name))) }

func (m *member) OnData(c *reactor.Conn, p []byte) int {
	done := 0
	if !m.shaken {
		request := websocket.ClientRequest{Host: "gateway", Key: "dGhlIHNhbXBsZSBub25jZQ=="}
		n, _, err := websocket.ParseResponse(p, &request, websocket.Limits{})
		if err != nil {
			m.crowd.t.Errorf("%s: %v", m.name, err)
			c.Close()
		}
		if n == 0 {
			return 0
		}
		m.shaken, done = true, n
		m.reader.Init(&websocket.Config{Client: true}, false)
	}
	for {
		n, ev, err := m.reader.Next(p[done:])
		done += n
		if err != nil || ev.Op == 0 {
			return done
		}
		m.handle(c, ev)
	}
}

func (m *member) handle(c *reactor.Conn, ev websocket.Event) {
	switch ev.Op {
	case websocket.Ping:
		c.Write(websocket.AppendMaskedFrame(nil, websocket.Pong, ev.Payload, websocket.NewKey()))
		if m.pings++; m.pings == 1 {
			m.crowd.pinged.arrive()
		}
	case websocket.Text:
		var packet wire.Packet
		if err := wire.JSON.Decode(&packet, ev.Payload, true); err != nil {
			m.crowd.t.Errorf("%s: %v", m.name, err)
			return
		}
		m.packet(c, &packet)
	}
}

func (m *member) packet(c *reactor.Conn, p *wire.Packet) {
	if p.Op == wire.Hello {
		m.crowd.greeted.arrive()
		c.Loop().Local.(func())()
		return
	}
	q := p.Message.QoS
	if q == message.AtLeastOnce {
		c.Write(masked(`{"op":"ack","id":` + strconv.FormatUint(p.ID, 10) + `}`))
	}
	if m.news[q]++; m.news[q] == 1 {
		m.crowd.news[q].arrive()
	}
}

func (m *member) OnAlarm(*reactor.Conn)   {}
func (m *member) OnDrained(*reactor.Conn) {}

func (m *member) OnClose(_ *reactor.Conn, err error) {
	m.reader.Release()
	if !errors.Is(err, reactor.ErrClosed) {
		m.lost = err
	}
}

// Ten thousand devices in one process, both ends, in descriptor tables of the loops' own:
// they are greeted, kept alive, and each gets a broadcast once; the number of goroutines
// does not depend on theirs, and while they are idle nobody holds a buffer.
func TestTenThousandDevices(t *testing.T) {
	const size = 10_000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	most := int(min(limit.Max, 1<<20)) // more than one table holds
	w := newWorld(t, settings{gateway: Config{MaxConnections: most, Heartbeat: 2 * time.Second, HeartbeatTimeout: time.Minute}})
	c := newCrowd(t, w.gateway.Addr(), size, most)
	if !w.gateway.group.Private() || !c.group.Private() {
		t.Error("the loops share a descriptor table")
	}
	goroutines := runtime.NumGoroutine()

	c.connect()
	c.greeted.await(t, "hello")
	if n := runtime.NumGoroutine(); n > goroutines+10 {
		t.Errorf("%d goroutines with %d devices, %d without", n, size, goroutines)
	}
	if _, online := w.sessions.Count(); online != size {
		t.Errorf("%d sessions are on line", online)
	}
	c.pinged.await(t, "ping")
	for q := range c.news {
		m := &message.Message{Topic: "news", Payload: []byte(`"all"`), ContentType: message.JSON, QoS: message.QoS(q), Time: time.Now().UnixMilli()}
		if n, err := w.sessions.Broadcast(t.Context(), m, ""); n != size || err != nil {
			t.Errorf("broadcast to %d devices, %v", n, err)
		}
		c.news[q].await(t, "broadcast of QoS "+strconv.Itoa(q))
	}
	awaitIdle(t, "gateway", w.gateway.group)
	awaitIdle(t, "devices", c.group)

	c.group.Close()
	w.take(w.presence, 2*size)
	if s := w.gateway.group.Stats(); s.Open != 0 || s.Lent != 0 {
		t.Errorf("%d connections and %d buffers are left", s.Open, s.Lent)
	}
	if _, online := w.sessions.Count(); online != 0 {
		t.Errorf("%d sessions are still on line", online)
	}
	for _, members := range c.members {
		for _, m := range members {
			if m.pings == 0 || m.news != [2]int{1, 1} || m.lost != nil {
				t.Fatalf("%s: %d pings, %v messages, %v", m.name, m.pings, m.news, m.lost)
			}
		}
	}
}

// awaitIdle waits for a moment at which no connection of the group has bytes pending.
func awaitIdle(t testing.TB, who string, g *reactor.Group) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for g.Stats().Lent != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d buffers are lent", who, g.Stats().Lent)
		}
		runtime.Gosched()
	}
}
