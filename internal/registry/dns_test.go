package registry_test

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/registry/registrytest"
)

// zone is a name server with the records of one service: the addresses of billing.test, and the SRV records of
// _http._tcp.billing.test, whose targets are a.test and so on.
type zone struct {
	conn net.PacketConn
	srv  bool

	mu   sync.Mutex
	set  []registry.Instance
	down bool
}

func newZone(t *testing.T, srv bool) *zone {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{conn: c, srv: srv}
	var serving sync.WaitGroup
	serving.Go(z.serve)
	t.Cleanup(func() { _ = c.Close(); serving.Wait() })
	return z
}

func (z *zone) Hosts() (one, two string) {
	if z.srv {
		return "a.test", "b.test"
	}
	return "127.0.0.1", "127.0.0.2"
}

func (z *zone) Set(_ *testing.T, all []registry.Instance) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.set = all
}

func (z *zone) Down(*testing.T) (up func()) {
	become := func(down bool) {
		z.mu.Lock()
		defer z.mu.Unlock()
		z.down = down
	}
	become(true)
	return func() { become(false) }
}

func (z *zone) Source() registry.Source {
	name := "billing.test.:9001"
	if z.srv {
		name = "_http._tcp.billing.test."
	}
	return registry.Source{DNS: registry.DNS{Name: name, Resolver: z.conn.LocalAddr().String()}}
}

func (z *zone) serve() {
	b := make([]byte, 1500)
	for {
		n, from, err := z.conn.ReadFrom(b)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		z.answer(&m)
		if p, err := m.Pack(); err == nil {
			_, _ = z.conn.WriteTo(p, from)
		}
	}
}

// answer fills in m. It has no answer while z is down; a name without records has none either, with NXDOMAIN.
func (z *zone) answer(m *dnsmessage.Message) {
	z.mu.Lock()
	defer z.mu.Unlock()
	q := m.Questions[0]
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true}
	m.Additionals = nil
	switch {
	case z.down:
		m.RCode = dnsmessage.RCodeServerFailure
		return
	case len(z.set) == 0:
		m.RCode = dnsmessage.RCodeNameError
		return
	}
	for _, i := range z.set {
		host := strings.TrimSuffix(strings.TrimPrefix(i.URL, "http://"), ":9001")
		h := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET}
		switch {
		case q.Type == dnsmessage.TypeA && !z.srv:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: netip.MustParseAddr(host).As4()}})
		case q.Type == dnsmessage.TypeSRV && z.srv:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.SRVResource{
				Priority: 1, Weight: uint16(i.Weight), Port: 9001, Target: dnsmessage.MustNewName(host + "."),
			}}, dnsmessage.Resource{Header: h, Body: &dnsmessage.SRVResource{
				Priority: 2, Weight: 1, Port: 1, Target: dnsmessage.MustNewName("later.test."),
			}})
		}
	}
}

func TestDNSAddresses(t *testing.T) { registrytest.Run(t, newZone(t, false), false) }

func TestDNSRecords(t *testing.T) { registrytest.Run(t, newZone(t, true), true) }
