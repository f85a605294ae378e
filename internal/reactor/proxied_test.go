package reactor

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/longline/longline/internal/proxyproto"
)

// proxiedGroup answers the first byte that a connection sends with its remote address, says
// at ended how each ends, and believes PROXY headers from loopback, if trusted.
func proxiedGroup(t *testing.T, trusted bool, secure *TLSConfig) (g *Group, ended chan error) {
	t.Helper()
	ended = make(chan error, 16)
	config := Config{TLS: secure, Loops: 1}
	if trusted {
		config.Proxied = proxyproto.Trusted{netip.MustParsePrefix("127.0.0.0/8")}
	}
	return serve(t, config, func(*Loop) Handler {
		return &echo{
			onData: func(c *Conn, p []byte) int {
				c.Write([]byte(c.RemoteAddr().String() + " " + string(p) + "\n"))
				return len(p)
			},
			closed: func(_ *Conn, err error) { ended <- err },
		}
	}), ended
}

const headerOf = "PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n"

func TestProxiedConnections(t *testing.T) {
	g, _ := proxiedGroup(t, true, nil)
	local := "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00" // version 2, LOCAL
	for name, header := range map[string]struct{ bytes, want string }{
		"version 1":      {headerOf, "203.0.113.9:4711"},
		"version 2":      {"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x09\x0a\x00\x00\x01\x12\x67\x01\xbb", "203.0.113.9:4711"},
		"IPv6":           {"PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n", "[2001:db8::1]:4711"},
		"its own":        {local, ""},
		"it cannot tell": {"PROXY UNKNOWN\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			whole, pieces := connect(t, g), connect(t, g)
			for _, c := range []net.Conn{whole, pieces} {
				want := header.want
				if want == "" {
					want = c.LocalAddr().String()
				}
				if c == whole {
					write(t, c, header.bytes+"x")
				} else {
					for i := range len(header.bytes) {
						write(t, c, header.bytes[i:i+1])
					}
					write(t, c, "x")
				}
				expect(t, c, want+" x\n")
			}
		})
	}
}

func write(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

// TLS begins after the header, also in the same packet.
func TestProxiedTLS(t *testing.T) {
	cert, pool := certificate(t)
	workers := NewWorkers(1, 1)
	g, _ := proxiedGroup(t, true, &TLSConfig{Config: &tls.Config{Certificates: []tls.Certificate{cert}}, Handshakes: workers})
	t.Cleanup(func() { g.Close(); workers.Close() })
	c := tls.Client(&prefixed{Conn: connect(t, g), prefix: headerOf}, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
	write(t, c, "x")
	expect(t, c, "203.0.113.9:4711 x\n")
}

// prefixed sends a prefix in the same write as the first bytes.
type prefixed struct {
	net.Conn
	prefix string
}

func (p *prefixed) Write(b []byte) (int, error) {
	_, err := p.Conn.Write(append([]byte(p.prefix), b...))
	p.prefix = ""
	return len(b), err
}

// A proxy must send a header. An invalid one ends the connection, nothing of it is
// kept, and OnOpen is not called.
func TestProxiedConnectionsMustSaySo(t *testing.T) {
	g, ended := proxiedGroup(t, true, nil)
	for _, begin := range []string{"GET / HTTP/1.1\r\n", "PROXY TCP9 \r\n", "PROXY " + string(make([]byte, 8<<10))} {
		c := connect(t, g)
		write(t, c, begin)
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("%.10q was answered", begin)
		}
		if err := <-ended; !errors.Is(err, ErrProxied) {
			t.Errorf("%.10q ended by %v", begin, err)
		}
	}
	cut := connect(t, g)
	write(t, cut, headerOf[:10])
	_ = cut.Close()
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("cut off: %v", err)
	}
	known := connect(t, g)
	write(t, known, headerOf+"x")
	expect(t, known, "203.0.113.9:4711 x\n")
	_ = known.Close()
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("ended with %v", err)
	}
	g.Each(func(l *Loop) {
		if len(l.clients) > 0 || l.pool.lent > 0 {
			t.Errorf("%d addresses and %d buffers are left", len(l.clients), l.pool.lent)
		}
	})
}

func TestProxySaysNothing(t *testing.T) {
	g, ended := proxiedGroup(t, true, nil)
	start := time.Now()
	connect(t, g)
	if err := <-ended; !errors.Is(err, ErrProxied) || time.Since(start) < headerTime {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

// Anybody else could claim any address: from an untrusted peer, a header is data.
func TestNobodyIsTrustedUnasked(t *testing.T) {
	g, _ := proxiedGroup(t, false, nil)
	c := connect(t, g)
	write(t, c, headerOf)
	expect(t, c, c.LocalAddr().String()+" PROXY")
}
