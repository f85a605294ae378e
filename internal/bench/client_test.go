package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/longline/longline/internal/gateway"
	"github.com/longline/longline/internal/reactor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rawServer is a reactor.Handler of a server without WebSocket.
type rawServer struct {
	onData  func(c *reactor.Conn, p []byte) int
	onAlarm func(c *reactor.Conn)
}

func (*rawServer) OnOpen(*reactor.Conn)                   {}
func (s *rawServer) OnData(c *reactor.Conn, p []byte) int { return s.onData(c, p) }
func (s *rawServer) OnAlarm(c *reactor.Conn)              { s.onAlarm(c) }
func (*rawServer) OnDrained(*reactor.Conn)                {}
func (*rawServer) OnClose(*reactor.Conn, error)           {}
func echoBack(c *reactor.Conn, p []byte) int              { c.Write(p); return len(p) }
func handler(onData func(*reactor.Conn, []byte) int) func() *rawServer {
	return func() *rawServer { return &rawServer{onData: onData} }
}

// serveRaw starts a server whose connections have the handlers that newHandler makes.
func serveRaw(t *testing.T, newHandler func() *rawServer) Target {
	t.Helper()
	g, err := reactor.Start(reactor.Config{
		Listen: "127.0.0.1:0", Loops: 1,
		NewHandler: func(*reactor.Loop) reactor.Handler { return newHandler() },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return Target{Addr: g.Addr(), Raw: true}
}

// serveTLS echoes frames over TLS.
func serveTLS(t *testing.T) Target {
	t.Helper()
	lender := httptest.NewTLSServer(nil) // lends its certificate
	t.Cleanup(lender.Close)
	workers := reactor.NewWorkers(4, 64)
	t.Cleanup(workers.Close)
	g, err := reactor.Start(reactor.Config{
		Listen:     "127.0.0.1:0",
		Loops:      1,
		TLS:        &reactor.TLSConfig{Config: lender.TLS, Handshakes: workers},
		NewHandler: func(*reactor.Loop) reactor.Handler { return handler(echoBack)() },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	roots := x509.NewCertPool()
	roots.AddCert(lender.Certificate())
	return Target{Addr: g.Addr(), Raw: true, TLS: &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}}
}

func TestEchoOverTLS(t *testing.T) {
	target := serveTLS(t)
	c := connect(t, target, 20)
	if r, err := c.Echo(t.Context(), brief); err != nil || r.Messages < 20 {
		t.Errorf("%d messages, %v", r.Messages, err)
	}
	if r, err := Handshakes(t.Context(), target, 30); err != nil || r.Messages != 30 {
		t.Errorf("%d handshakes, %v", r.Messages, err)
	}
	target.TLS = new(tls.Config) // does not trust the server
	if _, err := Connect(t.Context(), target, 1); err == nil {
		t.Error("a certificate that nobody trusts was taken")
	}
}

func serveEcho(t *testing.T) Target {
	t.Helper()
	g, err := gateway.StartEcho(gateway.EchoConfig{Listen: "127.0.0.1:0", Loops: 2, MaxConnections: 1000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return Target{Addr: g.Addr(), Process: Process(os.Getpid())}
}

func connect(t *testing.T, target Target, conns int) *Client {
	t.Helper()
	c, err := Connect(t.Context(), target, conns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

var brief = Load{Warmup: 10 * time.Millisecond, Duration: 100 * time.Millisecond, Rate: 1000}

func TestLoadsOverWebSocket(t *testing.T) {
	const conns = 300
	c := connect(t, serveEcho(t), conns)
	for range 2 { // loads follow each other on the same connections
		echo, err := c.Echo(t.Context(), brief)
		if err != nil {
			t.Fatal(err)
		}
		if echo.Messages < conns || echo.CPU <= 0 || echo.Cost() <= 0 || echo.Rate() <= 0 {
			t.Errorf("echo: %d messages, %v of CPU", echo.Messages, echo.CPU)
		}
		paced, err := c.Paced(t.Context(), brief)
		if err != nil {
			t.Fatal(err)
		}
		if n := paced.Messages; n < 50 || uint64(paced.Latency.TotalCount()) != n {
			t.Errorf("paced: %d messages, %d latencies; want about 100", n, paced.Latency.TotalCount())
		}
		broadcast, err := c.Broadcast(t.Context(), 3)
		if err != nil {
			t.Fatal(err)
		}
		if broadcast.Messages != 3*conns || broadcast.Latency.TotalCount() != 3 {
			t.Errorf("broadcast: %d deliveries in %d rounds", broadcast.Messages, broadcast.Latency.TotalCount())
		}
	}
}

func TestEchoOverBareTCP(t *testing.T) {
	c := connect(t, serveRaw(t, handler(echoBack)), 4)
	r, err := c.Echo(t.Context(), Load{Size: 70_000, Duration: time.Second})
	if err != nil || r.Messages < 1 {
		t.Errorf("%d messages, %v", r.Messages, err)
	}
	if r.CPU != 0 {
		t.Errorf("%v of CPU without a process", r.CPU)
	}
}

// If a server does something wrong, the load fails with an error that says so.
func TestWrongAnswersAreFound(t *testing.T) {
	for _, c := range []struct {
		name   string
		onData func(c *reactor.Conn, p []byte) int
		want   string
	}{
		{"other bytes", func(c *reactor.Conn, p []byte) int { p[len(p)-1] ^= 1; return echoBack(c, p) }, "other bytes"},
		{"another connection's", func(c *reactor.Conn, p []byte) int { p[4] ^= 1; return echoBack(c, p) }, "to connection"},
		{"twice", func(c *reactor.Conn, p []byte) int { c.Write(p); return echoBack(c, p) }, "to message"},
		{"out of order", func(c *reactor.Conn, p []byte) int { p[8]++; return echoBack(c, p) }, "to message"},
		{"too short", func(c *reactor.Conn, p []byte) int { c.Write([]byte{0x82, 1, 'x'}); return len(p) }, "1 bytes"},
		{"no frame", func(c *reactor.Conn, p []byte) int { p[0] = 0xFF; return echoBack(c, p) }, "reserved bits"},
		{"text", func(c *reactor.Conn, p []byte) int { c.Write([]byte{0x81, 0}); return len(p) }, "opcode 1"},
		{"closes", func(c *reactor.Conn, p []byte) int { c.Close(); return len(p) }, errClosedByServer.Error()},
		{"says it closes", func(c *reactor.Conn, p []byte) int { c.Write([]byte{0x88, 0}); return len(p) }, errClosedByServer.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := connect(t, serveRaw(t, handler(c.onData)), 1)
			_, err := client.Echo(t.Context(), Load{Duration: time.Minute})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestBroadcastChecksWhatArrives(t *testing.T) {
	c := connect(t, serveRaw(t, handler(echoBack)), 1)
	if _, err := c.Broadcast(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "not the announcement") {
		t.Errorf("error %v", err)
	}
}

// The load goes on while a server stalls, and the latency of each message that waits counts
// from when the message was due.
func TestPacedLatencyCountsFromWhenDue(t *testing.T) {
	const stall = 300 * time.Millisecond
	target := serveRaw(t, func() *rawServer {
		first := true
		return &rawServer{
			onData: func(c *reactor.Conn, p []byte) int {
				if first {
					first = false
					c.PauseReading()
					c.SetAlarm(stall)
				}
				return echoBack(c, p)
			},
			onAlarm: func(c *reactor.Conn) { c.ResumeReading() },
		}
	})
	c := connect(t, target, 1)
	r, err := c.Paced(t.Context(), Load{Duration: 2 * stall, Rate: 1000})
	if err != nil {
		t.Fatal(err)
	}
	// At least a third of the messages was due in the first two thirds of the stall.
	if p := r.Percentile(75); p < stall/4 {
		t.Errorf("a server that stalled for half of the time has p75 %v", p)
	}
}

func TestHandshakes(t *testing.T) {
	target := serveEcho(t)
	r, err := Handshakes(t.Context(), target, 200)
	if err != nil || r.Messages != 200 || r.Latency.TotalCount() != 200 || r.CPU <= 0 {
		t.Errorf("%d handshakes, %v of CPU, %v", r.Messages, r.CPU, err)
	}
	raw := serveRaw(t, handler(echoBack))
	if r, err := Handshakes(t.Context(), raw, 10); err != nil || r.Messages != 10 {
		t.Errorf("%d connections, %v", r.Messages, err)
	}
	raw.Raw = false // the server echoes the request, which is no answer to an upgrade
	if _, err := Handshakes(t.Context(), raw, 10); err == nil {
		t.Error("an echo is not an upgrade")
	}
}

func TestConnectSaysWhatIsWrong(t *testing.T) {
	refused := Target{Addr: netip.MustParseAddrPort("127.0.0.1:1")}
	if _, err := Connect(t.Context(), refused, 1); err == nil {
		t.Error("connected to a closed port")
	}
	if _, err := Connect(t.Context(), refused, 0); err == nil {
		t.Error("connected no connection")
	}
	silent := serveRaw(t, handler(func(_ *reactor.Conn, p []byte) int { return len(p) }))
	silent.Raw = false
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := Connect(ctx, silent, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
}

func TestLoadsAreChecked(t *testing.T) {
	c := connect(t, serveRaw(t, handler(echoBack)), 1)
	for _, load := range []Load{{}, {Size: 1, Duration: 1}, {Size: 1 << 30, Duration: 1}, {Duration: 1, Warmup: -1}, {Duration: 1, Rate: -1}} {
		if _, err := c.Paced(t.Context(), load); err == nil {
			t.Errorf("took %+v", load)
		}
	}
	if _, err := c.Broadcast(t.Context(), 0); err == nil {
		t.Error("took no broadcasts")
	}
}
