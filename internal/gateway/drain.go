package gateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/wire"
)

const drainStep = 100 * time.Millisecond

// Drain takes no new devices and closes those that are there at the configured rate, each
// with a delay after which to come back, so that the fleet does not return as one wave. What is
// pending for a device leaves before. Drain returns when none is left, or ctx ends. A second
// call waits for the first, and goes on where that has given up.
func (g *Gateway) Drain(ctx context.Context) error {
	g.draining.Store(true)
	select {
	case g.drainer <- struct{}{}:
		defer func() { <-g.drainer }()
	case <-ctx.Done():
		return g.undrained(ctx)
	}
	tick := time.NewTicker(drainStep)
	defer tick.Stop()
	share := float64(g.config.DrainRate) * drainStep.Seconds() / float64(len(g.group.Loops()))
	for due := max(1, share); ; due += share { // devices that each loop may close
		if n := int(due); n > 0 {
			due -= float64(n)
			g.group.Each(func(l *reactor.Loop) { g.closeSome(l, n) })
		}
		if g.group.Stats().Open == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return g.undrained(ctx)
		}
	}
}

// undrained is the error of a drain whose ctx has ended.
func (g *Gateway) undrained(ctx context.Context) error {
	return fmt.Errorf("%d connections were still open: %w", g.group.Stats().Open, ctx.Err())
}

// closeSome closes up to n of a loop's devices, and whatever has not shaken hands.
func (g *Gateway) closeSome(l *reactor.Loop, n int) {
	l.Handlers(func(h reactor.Handler) bool {
		if h.(connection).drain(g) {
			n--
		}
		return n > 0
	})
}

// connection is what a loop's handlers are: connections of devices, in any protocol.
type connection interface {
	// drain ends the connection because of g.restart, and tells whether it was a device's
	// already. One that is shaking hands is refused.
	drain(g *Gateway) (wasOpen bool)
	// dismiss ends the connection.
	dismiss(why *wire.Close)
}

func (d *device) drain(g *Gateway) (wasOpen bool) {
	switch d.state {
	case shaking:
		d.refuse(d, unavailable("The gateway is being drained."))
	case open:
		d.close(d, g.restart())
		return true
	}
	return false
}

func (d *device) dismiss(why *wire.Close) { d.close(d, why) }

func (c *mqttDevice) drain(g *Gateway) (wasOpen bool) {
	wasOpen = c.phase == mqttOpen
	c.dismiss(g.restart())
	return wasOpen
}

func (c *mqttDevice) dismiss(why *wire.Close) {
	if c.phase == mqttOpen {
		c.fail(why)
	} else {
		c.fail(c.shard.gateway.mqttDraining())
	}
}

// restart asks a device to come back after a delay of its own.
func (g *Gateway) restart() *wire.Close {
	delay := rand.N(g.config.DrainSpread + 1).Round(time.Second)
	return wire.CloseRestart.Because(fmt.Sprintf("the gateway restarts; retry after %ds", delay/time.Second))
}
