package bench

import (
	"bytes"
	"crypto/tls"
	"net/netip"
	"sync/atomic"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
)

// Target is a server under test: one that echoes messages, and sends every connection one
// binary message of 128 times 'b' when it gets the binary message "B".
type Target struct {
	// Addr is where the server listens.
	Addr netip.AddrPort
	// Raw leaves WebSocket out: frames go over bare TCP, without handshake and unmasked, so
	// that a server which sends back every byte is an echo of messages.
	Raw bool
	// TLS, if not nil, is spoken.
	TLS *tls.Config
	// Devices makes the connections devices of a gateway, with ids of this prefix and a
	// number: each upgrades at /connect?device=ID, speaks longline.v1.protobuf, and is open
	// once it is greeted.
	Devices string
	// MQTT makes the connections MQTT clients of a broker: each upgrades at /mqtt and is open
	// once it has subscribed. Devices is what their client identifiers begin with.
	MQTT *MQTT
	// Token is what devices are authenticated by; empty is nothing.
	Token string
	// Process is the server's, when it runs on this machine; 0 leaves its CPU time out of
	// results.
	Process Process
}

// Announcement is what a broadcast sends.
var Announcement = bytes.Repeat([]byte{'b'}, 128)

// frames is the client's side of RFC 6455.
var frames = websocket.Config{Client: true}

// request is the upgrade that a connection asks for. One key does for all: it is not a
// secret, and caches are not on the way.
func (t *Target) request() websocket.ClientRequest {
	r := websocket.ClientRequest{Host: t.Addr.String(), Key: key}
	if t.Token != "" {
		r.Authorization = "Bearer " + t.Token
	}
	return r
}

var key = websocket.NewHandshakeKey()

// connsASource is how many connections leave from one loopback address before the next is
// taken. The kernel has 28,232 ports for a pair of addresses, and one that was closed keeps
// its port for a minute.
const connsASource = 20_000

// dialed counts the connections of the process to loopback addresses.
var dialed atomic.Uint32

// source returns where the next connection leaves from: 127.0.0.1 and those behind it to a
// loopback address, otherwise what the kernel takes.
func (t *Target) source() netip.Addr {
	if !t.Addr.Addr().Is4() || !t.Addr.Addr().IsLoopback() {
		return netip.Addr{}
	}
	return sourceOf(dialed.Add(1) - 1)
}

func sourceOf(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + n/connsASource%250)})
}

// dial starts a connection to the target.
func (t *Target) dial(l *reactor.Loop, h reactor.Handler) (err error) {
	if t.TLS != nil {
		_, err = l.DialTLS(t.Addr, t.source(), t.TLS, h)
	} else {
		_, err = l.Dial(t.Addr, t.source(), h)
	}
	return err
}

const handshakesAtOnce = 4 // of TLS, that the client computes

// open starts a group of loops for conns connections, dials of them on their way at a time.
// The caller calls end.
func (t *Target) open(loops, conns, dials int) (group *reactor.Group, end func(), err error) {
	config := reactor.Config{Loops: loops, MaxConnections: conns}
	var workers *reactor.Workers
	if t.TLS != nil {
		workers = reactor.NewWorkers(handshakesAtOnce, dials)
		config.TLS = &reactor.TLSConfig{Handshakes: workers, Timeout: connectTimeout}
	}
	group, err = reactor.Start(config)
	return group, func() {
		if group != nil {
			group.Close()
		}
		if workers != nil {
			workers.Close()
		}
	}, err
}
