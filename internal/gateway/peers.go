package gateway

import (
	"context"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/session"
)

// Peers returns the peers of connections, in their order. It asks each loop once for all of its connections. When ctx
// ends, the peers of loops that have not answered are zero.
func (g *Gateway) Peers(ctx context.Context, conns []session.Conn) []devices.Peer {
	questions := make(map[*reactor.Loop]*peersOf)
	answers := make(chan *peersOf, len(conns))
	for i, conn := range conns {
		d, ok := conn.(door.Handler)
		if !ok {
			continue
		}
		loop := d.Base().Transport().Loop()
		q := questions[loop]
		if q == nil {
			q = &peersOf{answers: answers}
			questions[loop] = q
		}
		q.at, q.handlers = append(q.at, i), append(q.handlers, d)
	}
	peers := make([]devices.Peer, len(conns))
	waiting := 0
	for loop, q := range questions {
		if loop.Post(q) {
			waiting++
		}
	}
	for ; waiting > 0; waiting-- {
		select {
		case q := <-answers:
			for i, at := range q.at {
				peers[at] = q.peers[i]
			}
		case <-ctx.Done():
			return peers
		}
	}
	return peers
}

// peersOf asks one loop for the peers of its connections.
type peersOf struct {
	answers  chan<- *peersOf // has room for the answer
	at       []int           // indexes in conns
	handlers []door.Handler
	peers    []devices.Peer // set by the loop
}

// Run implements reactor.Task.
func (q *peersOf) Run(*reactor.Loop) {
	q.peers = make([]devices.Peer, len(q.handlers))
	for i, d := range q.handlers {
		conn := d.Base().Transport()
		if conn.Closed() {
			continue
		}
		if addr := conn.RemoteAddr(); addr.IsValid() {
			q.peers[i] = devices.Peer{Addr: addr, Protocol: d.Protocol()}
		}
	}
	q.answers <- q
}
