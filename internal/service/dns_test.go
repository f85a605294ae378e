package service

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

// newNameServer starts a name server that alone knows the host a.billing.test, at 127.0.0.1, and the SRV record of this port there.
func newNameServer(t *testing.T, port uint16) (address string) {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answer := func(m *dnsmessage.Message) {
		q := m.Questions[0]
		m.Header = dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true}
		m.Additionals = nil
		h := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET}
		switch {
		case q.Type == dnsmessage.TypeSRV:
			m.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.SRVResource{Port: port, Target: dnsmessage.MustNewName("a.billing.test.")}}}
		case q.Type == dnsmessage.TypeA && q.Name.String() == "a.billing.test.":
			m.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AResource{A: netip.MustParseAddr("127.0.0.1").As4()}}}
		}
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			answer(&m)
			if p, err := m.Pack(); err == nil {
				_, _ = c.WriteTo(p, from)
			}
		}
	})
	t.Cleanup(func() { _ = c.Close(); serving.Wait() })
	return c.LocalAddr().String()
}

// The hosts that SRV records name are those of the same name server: the system's may not know them.
func TestNameServerKnowsTheHosts(t *testing.T) {
	w := reload.Start()
	defer w.Close()
	for scheme, start := range map[string]func(http.Handler) *httptest.Server{"http": httptest.NewServer, "https": httptest.NewTLSServer} {
		b := start(says("good"))
		t.Cleanup(b.Close)
		c := Config{Timeout: time.Minute, Source: registry.Source{DNS: registry.DNS{
			Name: "_http._tcp.billing.test.", Scheme: scheme, Resolver: newNameServer(t, netip.MustParseAddrPort(b.Listener.Addr().String()).Port()),
		}}}
		if scheme == "https" {
			c.TLS = setting.TLS{CA: writeCA(t, b), ServerName: "example.com"}
		}
		s, err := Open("billing", c, w, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if a, err := s.get(t, false); err != nil || string(a.Body) != "good" {
			t.Errorf("%s: %+v, %v", scheme, a, err)
		}
		s.Close()
	}
}
