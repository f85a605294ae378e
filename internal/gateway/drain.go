package gateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/wire"
)

const drainStep = 100 * time.Millisecond

// Drain takes no new devices and closes those that are there at the configured rate, each
// with a delay after which to come back, so that the fleet does not return as one wave. What is
// pending for a device leaves before. Drain returns when none is left, or ctx ends: draining
// goes on then. A second call waits for the same.
func (g *Gateway) Drain(ctx context.Context) error {
	g.door.Drain()
	g.drainer.begin.Do(func() { go g.drainAll() })
	select {
	case <-g.drainer.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d connections were still open: %w", g.group.Stats().Open, ctx.Err())
	}
}

// drainer is the one drain of a gateway. Safe from any goroutine.
type drainer struct {
	begin sync.Once
	ended chan struct{}   // closed when none is left, or at the end of the gateway
	life  context.Context // the gateway's
	stop  func()          // ends it
}

func newDrainer() *drainer {
	d := &drainer{ended: make(chan struct{})}
	d.life, d.stop = context.WithCancel(context.Background())
	return d
}

// close ends the drain that there is, and lets none begin.
func (d *drainer) close() {
	d.stop()
	d.begin.Do(func() { close(d.ended) })
	<-d.ended
}

// drainAll closes devices until none is left, or the gateway ends.
func (g *Gateway) drainAll() {
	defer close(g.drainer.ended)
	tick := time.NewTicker(drainStep)
	defer tick.Stop()
	share := float64(g.config.DrainRate) * drainStep.Seconds() / float64(len(g.group.Loops()))
	for due := max(1, share); ; due += share { // devices that each loop may close
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

// closeSome closes up to n of a loop's devices, and whatever has not shaken hands.
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

// restart asks a device to come back after a delay of its own.
func (g *Gateway) restart() *wire.Close {
	delay := rand.N(g.config.DrainSpread + 1).Round(time.Second)
	return wire.CloseRestart.Because(fmt.Sprintf("the gateway restarts; retry after %ds", delay/time.Second))
}
