package gateway

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/wire"
)

// drainStep is the time between two rounds of a drain.
const drainStep = 100 * time.Millisecond

// Drain makes the gateway not ready, then, after Config.DrainDelay, refuses new devices and closes the connected ones at the configured rate.
// It tells each after what delay to come back, so that the fleet does not return as one wave, and sends what is pending first. If other
// nodes take the devices (Config.Together), Drain refuses new ones by closing the ports, so that a balancer tries another node, and leaves it to calls of Move
// to close those that are connected. Drain returns when no connection is left, or when ctx ends: draining then continues. A second call waits for the same drain.
func (g *Gateway) Drain(ctx context.Context) error {
	g.door.Leave()
	if g.config.DrainDelay == 0 {
		g.door.Drain()
	}
	g.drainer.begin.Do(func() { go g.drainAll() })
	select {
	case <-g.drainer.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d connections were still open: %w", g.group.Stats().Open, ctx.Err())
	}
}

// drainer is the state of a gateway's drain. Safe from any goroutine.
type drainer struct {
	begin sync.Once
	ended chan struct{}   // closed when no connection is left, or the gateway closes
	life  context.Context // of the gateway
	stop  func()          // ends life
}

func newDrainer() *drainer {
	d := &drainer{ended: make(chan struct{})}
	d.life, d.stop = context.WithCancel(context.Background())
	return d
}

// close ends a drain that is running, and prevents any other.
func (d *drainer) close() {
	d.stop()
	d.begin.Do(func() { close(d.ended) })
	<-d.ended
}

// drainAll closes connections until none is left, or the gateway closes.
func (g *Gateway) drainAll() {
	defer close(g.drainer.ended)
	select {
	case <-time.After(g.config.DrainDelay):
	case <-g.drainer.life.Done():
		return
	}
	g.door.Drain()
	tick := time.NewTicker(drainStep)
	defer tick.Stop()
	if g.config.Together {
		g.group.StopListening()
		g.awaitNobody(tick.C)
		return
	}
	share := float64(g.config.DrainRate) * drainStep.Seconds() / float64(len(g.group.Loops()))
	for due := max(1, share); ; due += share { // devices that each loop may close now
		if n := int(due); n > 0 {
			due -= float64(n)
			g.group.Each(func(l *reactor.Loop) { g.closeSome(l, n) })
		}
		if g.group.Stats().Open == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-g.drainer.life.Done():
			return
		}
	}
}

// awaitNobody waits until no connection is left, or the gateway closes.
func (g *Gateway) awaitNobody(tick <-chan time.Time) {
	for g.group.Stats().Open > 0 {
		select {
		case <-tick:
		case <-g.drainer.life.Done():
			return
		}
	}
}

// closeSome closes up to n of a loop's devices, and connections that it finds meanwhile that are not attached.
func (g *Gateway) closeSome(l *reactor.Loop, n int) {
	door.Handlers(l, func(h door.Handler) bool {
		c := h.Base()
		if c.Attached() {
			n--
		}
		c.Dismiss(g.restart())
		return n > 0
	})
}

// farewell returns the close for a device whose node ends.
func (g *Gateway) farewell() *wire.Close {
	if g.config.Together {
		return g.move()
	}
	return g.restart()
}

// restart returns a close that tells a device to come back after a random delay.
func (g *Gateway) restart() *wire.Close {
	return wire.CloseRestart.Because(fmt.Sprintf("the gateway restarts; retry after %ds", g.delay()/time.Second))
}
