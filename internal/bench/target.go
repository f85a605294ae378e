package bench

import (
	"bytes"
	"crypto/tls"
	"net/netip"
	"sync/atomic"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
)

// Target is a server under test. It echoes messages. When it gets the binary message "B", it sends one
// binary message of 128 times 'b' to every connection.
type Target struct {
	// Addr is where the server listens.
	Addr netip.AddrPort
	// Raw turns WebSocket off: frames go over bare TCP, without handshake and unmasked, so
	// that a server which sends every byte back echoes messages.
	Raw bool
	// TLS, if not nil, turns TLS on.
	TLS *tls.Config
	// Devices makes the connections devices of a gateway, whose ids are this prefix and a
	// number. Each upgrades at /connect?device=ID, speaks longline.v1.protobuf, and is open
	// when it has hello.
	Devices string
	// Chargers makes the devices chargers. Each upgrades at /ocpp/ID and speaks ocpp1.6.
	Chargers bool
	// MQTT makes the connections MQTT clients of a broker. Each upgrades at /mqtt and is open
	// when it has subscribed. Their client identifiers begin with Devices.
	MQTT *MQTT
	// Token is the devices' bearer token; empty means none.
	Token string
	// Process is the server's process, if it runs on this machine. If it is 0, results have no CPU
	// time.
	Process Process
}

// Announcement is the message of a broadcast.
var Announcement = bytes.Repeat([]byte{'b'}, 128)

// frames is the client's side of RFC 6455.
var frames = websocket.Config{Client: true}

// request returns the upgrade request of a connection. All have the same key, which is not a
// secret and only protects from caches.
func (t *Target) request() websocket.ClientRequest {
	r := websocket.ClientRequest{Host: t.Addr.String(), Key: key}
	if t.Token != "" {
		r.Authorization = "Bearer " + t.Token
	}
	return r
}

var key = websocket.NewHandshakeKey()

// connsASource is the number of connections from one loopback address before the next address is
// used. The kernel has 28,232 ports for a pair of addresses, and a closed connection keeps
// its port for a minute.
const connsASource = 20_000

// dialed counts the connections of the process to loopback addresses.
var dialed atomic.Uint32

// source returns the source address of the next connection: 127.0.0.1 or one after it for a
// loopback target, otherwise the kernel's choice.
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

const handshakesAtOnce = 4 // TLS handshakes that the client works on at a time

// open starts a group of loops for conns connections, of which dials may be under way at a time.
// The caller must call end.
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
