package gateway

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/wire"
)

// lookedAt bounds the descriptors that a loop looks at to find devices for one Move, so that a loop with half a million of them does not stop for it.
const lookedAt = 4096

// candidate is a device that could be asked to connect to another node.
type candidate struct {
	handler door.Handler
	since   int64 // when it connected, in Unix milliseconds
}

// Move asks up to n devices to connect to another node, each after a random delay of up to gateway.drain_spread, and returns how many it has asked. server
// names the one that MQTT 5 devices are told, "" for none; it is called on loops, at the same time. Move takes devices to which and from which nothing is on its way, those that
// have connected last first; while the gateway is drained also others, if these do not suffice. It looks at a part of
// the devices, so it may find fewer than n. It waits for the loops.
func (g *Gateway) Move(n int, server func() string) int {
	loops := g.group.Loops()
	first := rand.IntN(len(loops)) // what does not divide evenly
	var asked atomic.Int64
	g.group.Each(func(l *reactor.Loop) {
		part := (n + (l.Index()+first)%len(loops)) / len(loops)
		asked.Add(int64(g.moveSome(l, part, server)))
	})
	return int(asked.Load())
}

// moveSome is Move for a loop.
func (g *Gateway) moveSome(l *reactor.Loop, n int, server func() string) int {
	if n == 0 {
		return 0
	}
	s := l.Local.(*shard)
	var idle, busy []candidate
	s.looked = l.HandlersFrom(s.looked, lookedAt, func(h reactor.Handler) {
		d := door.HandlerOf(h)
		if !d.Base().Attached() {
			return
		}
		if since, ok := d.Base().Link().Movable(); ok {
			idle = append(idle, candidate{d, since})
		} else if !g.door.Ready() {
			busy = append(busy, candidate{d, since})
		}
	})
	slices.SortFunc(idle, func(a, b candidate) int { return cmp.Compare(b.since, a.since) })
	all := slices.Concat(idle, busy)
	all = all[:min(n, len(all))]
	for _, c := range all {
		c.handler.Base().Dismiss(g.move().To(server()))
	}
	return len(all)
}

// move returns a close that tells a device to connect to another node after a random delay.
func (g *Gateway) move() *wire.Close {
	return wire.CloseMoved.Because(fmt.Sprintf("try another node; retry after %ds", g.delay()/time.Second))
}

// delay returns after how long a device should come back.
func (g *Gateway) delay() time.Duration { return rand.N(g.config.DrainSpread + 1).Round(time.Second) }
