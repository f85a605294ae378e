//go:build servers

package balancers

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/longline/longline/internal/gateway"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/store"
)

// delay is gateway.drain_delay of the nodes: as in a cluster.
const delay = 5 * time.Second

// A node is a gateway that expects the PROXY protocol, and its /readyz.
type node struct {
	sessions *session.Manager
	gateway  *gateway.Gateway
	admin    netip.AddrPort
	ready    *atomic.Pointer[gateway.Gateway] // of which life /readyz tells; nil while the node is dead
}

// startNode starts a node. If it is the next life of another one, it has that one's ports.
func startNode(t *testing.T, before *node) *node {
	t.Helper()
	memory := store.NewMemory(store.Options{})
	r := router.New(router.Config{}, memory)
	n := new(node)
	var err error
	if n.sessions, err = session.NewManager(session.Config{}, r, memory, memory); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.sessions.Close)
	c := gateway.Config{
		Listen: "127.0.0.1:0", Insecure: true, Loops: 1, MaxConnections: 1000, Together: true, DrainDelay: delay, DrainSpread: time.Second,
		MQTT:    gateway.MQTT{Listen: "127.0.0.1:0"},
		Proxies: gateway.Proxies{Protocol: []string{"127.0.0.1"}},
	}
	if before != nil {
		c.Listen, c.MQTT.Listen = before.gateway.Addr().String(), before.gateway.MQTTAddr().String()
	}
	if n.gateway, err = gateway.Start(c, r, n.sessions); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.gateway.Close)
	if before != nil {
		n.admin, n.ready = before.admin, before.ready
	} else {
		n.serveReady(t)
	}
	n.ready.Store(n.gateway)
	return n
}

// serveReady answers /readyz as the admin port does.
func (n *node) serveReady(t *testing.T) {
	ready := new(atomic.Pointer[gateway.Gateway])
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g := ready.Load(); r.URL.Path != "/readyz" || g == nil || !g.Ready() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, "-\n") // the balancer may have gone
	}))
	t.Cleanup(admin.Close)
	n.ready, n.admin = ready, netip.MustParseAddrPort(admin.Listener.Addr().String())
}

// die ends the node at once.
func (n *node) die() {
	n.ready.Store(nil)
	n.gateway.Close()
}

// online returns how many devices are connected.
func (n *node) online() int {
	_, online := n.sessions.Count()
	return online
}

// peer returns the address from which a device has connected, as the node knows it. It is not valid if the device is not here.
func (n *node) peer(t *testing.T, device string) netip.AddrPort {
	info, err := n.sessions.Local(n.gateway.Peers).Get(t.Context(), device)
	if err != nil || !info.Online {
		return netip.AddrPort{}
	}
	return info.Peer.Addr
}

// listens reports whether both device ports take connections.
func (n *node) listens(t *testing.T) bool {
	for _, addr := range []netip.AddrPort{n.gateway.Addr(), n.gateway.MQTTAddr()} {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr.String())
		if err != nil {
			return false
		}
		_ = c.Close() // it was only a question
	}
	return true
}
