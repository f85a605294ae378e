package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
)

// Handshakes connects, upgrades and closes n times, up to 64 at a time. The
// latency is the time from the dial to the end of the upgrade. The server's CPU time includes closing
// the connections. With a raw target there is no upgrade.
func Handshakes(ctx context.Context, target Target, n int) (Result, error) {
	if n < 1 || n > maxConns {
		return Result{}, fmt.Errorf("%d handshakes: want 1 to %d", n, maxConns)
	}
	group, end, err := target.open(1, 0, visitsAtOnce)
	defer end()
	if err != nil {
		return Result{}, err
	}
	r := Result{Latency: newLatency()}
	cpu, err := target.Process.CPU()
	if err != nil {
		return r, err
	}
	v := &visits{target: target, request: target.request(), left: n, result: &r, done: make(chan error, 1)}
	begin := time.Now()
	group.Loops()[0].Post(reactor.TaskFunc(v.start))
	if err := v.await(ctx); err != nil {
		return r, err
	}
	r.Elapsed = time.Since(begin)
	if err := target.Process.Rest(ctx); err != nil {
		return r, err
	}
	after, err := target.Process.CPU()
	r.CPU = after - cpu
	return r, err
}

const visitsAtOnce = 64

// visits is one run of Handshakes. Owned by the loop.
type visits struct {
	target  Target
	request websocket.ClientRequest
	result  *Result
	left    int // visits that are not dialed yet
	open    int
	done    chan error
}

func (v *visits) await(ctx context.Context) error {
	select {
	case err := <-v.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(connectTimeout):
		return fmt.Errorf("waited %v for handshakes", connectTimeout)
	}
}

func (v *visits) start(l *reactor.Loop) {
	for range visitsAtOnce {
		v.next(l)
	}
}

// next dials the next connection, if one is left. When the last one has ended, it ends the run.
func (v *visits) next(l *reactor.Loop) {
	if v.left == 0 {
		if v.open == 0 {
			v.end(nil)
		}
		return
	}
	v.left--
	v.open++
	if err := v.target.dial(l, &visit{visits: v, began: time.Now()}); err != nil {
		v.end(err)
	}
}

func (v *visits) end(err error) {
	select {
	case v.done <- err:
	default:
	}
}

// visit is one connection, a reactor.Handler.
type visit struct {
	visits *visits
	began  time.Time
	err    error
}

// OnOpen implements reactor.Handler.
func (c *visit) OnOpen(tcp *reactor.Conn) {
	if c.visits.target.Raw {
		c.succeed(tcp)
		return
	}
	tcp.Commit(websocket.AppendRequest(tcp.Reserve(256), &c.visits.request))
}

// OnData implements reactor.Handler.
func (c *visit) OnData(tcp *reactor.Conn, p []byte) int {
	n, _, err := websocket.ParseResponse(p, &c.visits.request, websocket.Limits{})
	switch {
	case err != nil:
		c.err = err
		tcp.Close()
	case n > 0:
		c.succeed(tcp)
	}
	return n
}

func (c *visit) succeed(tcp *reactor.Conn) {
	record(c.visits.result.Latency, time.Since(c.began))
	c.visits.result.Messages++
	tcp.Close()
}

// OnAlarm implements reactor.Handler. No alarm is set.
func (c *visit) OnAlarm(*reactor.Conn) {}

// OnDrained implements reactor.Handler.
func (c *visit) OnDrained(*reactor.Conn) {}

// OnClose implements reactor.Handler.
func (c *visit) OnClose(tcp *reactor.Conn, err error) {
	c.visits.open--
	switch {
	case c.err != nil:
		c.visits.end(c.err)
	case !errors.Is(err, reactor.ErrClosed):
		c.visits.end(fmt.Errorf("connection: %w", err))
	default:
		c.visits.next(tcp.Loop())
	}
}
