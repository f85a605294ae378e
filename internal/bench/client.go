package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/reactor"
)

// Client is a number of connections to a target, with one load at a time. Its methods must not
// be called on a loop, nor by two goroutines at the same time.
type Client struct {
	// Static after construction.
	target Target
	began  time.Time
	group  *reactor.Group
	end    func() // closes the group
	lanes  []*lane
	conns  int

	// Safe from any goroutine.
	unready atomic.Int64 // connections that are not open yet
	ready   chan struct{}
	failed  chan error // the first failure
	closing atomic.Bool
}

const (
	connectTimeout = 2 * time.Minute
	answerTimeout  = 20 * time.Second
	maxConns       = 1_000_000
)

// Connect opens conns connections. The caller closes the Client.
func Connect(ctx context.Context, target Target, conns int) (*Client, error) {
	c, err := Start(target, conns, 0)
	if err != nil {
		return nil, err
	}
	if _, err := c.Opened(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

const maxDials = 256 // the default of Start

// Start begins to open conns connections, at most dials of them at a time; 0 is 256. The
// caller closes the Client.
func Start(target Target, conns, dials int) (*Client, error) {
	if conns < 1 || conns > maxConns {
		return nil, fmt.Errorf("%d connections: want 1 to %d", conns, maxConns)
	}
	if dials <= 0 {
		dials = maxDials
	}
	group, end, err := target.open(1, conns, dials)
	if err != nil {
		end()
		return nil, err
	}
	c := &Client{
		target: target,
		began:  time.Now(),
		group:  group,
		end:    end,
		conns:  conns,
		ready:  make(chan struct{}),
		failed: make(chan error, 1),
	}
	c.unready.Store(int64(conns))
	c.makeLanes(dials)
	c.each(func(l *lane) { l.dialMore() })
	return c, nil
}

// Opened waits until every connection is open. The latency is the time from each dial.
func (c *Client) Opened(ctx context.Context) (Result, error) {
	r := Result{Latency: newLatency()}
	if err := c.await(ctx, c.ready, connectTimeout, "connections to open"); err != nil {
		return r, err
	}
	r.Messages, r.Elapsed = uint64(c.conns), c.clock()
	for _, l := range c.lanes {
		r.Latency.Merge(l.opens)
	}
	return r, nil
}

// Idle leaves the connections alone for d.
func (c *Client) Idle(ctx context.Context, d time.Duration) (Result, error) {
	r := Result{Latency: newLatency()}
	cpu, err := c.target.Process.CPU()
	if err != nil {
		return r, err
	}
	begin := c.clock()
	if err := c.pause(ctx, d); err != nil {
		return r, err
	}
	r.Elapsed = c.clock() - begin
	after, err := c.target.Process.CPU()
	r.CPU = after - cpu
	return r, err
}

// Progress returns how many connections are open, and how many messages they have received.
func (c *Client) Progress() (open int, messages uint64) {
	parts := make([]uint64, len(c.lanes))
	c.each(func(l *lane) { parts[l.loop.Index()] = l.messages })
	for _, n := range parts {
		messages += n
	}
	return c.conns - int(c.unready.Load()), messages
}

// makeLanes gives each loop its share of the connections.
func (c *Client) makeLanes(dials int) {
	loops := c.group.Loops()
	n := len(loops)
	for i, l := range loops {
		share := (c.conns - i + n - 1) / n
		if share > 0 {
			c.lanes = append(c.lanes, newLane(c, l, share, max(1, dials/n)))
		}
	}
}

// Close closes the connections.
func (c *Client) Close() {
	c.closing.Store(true)
	c.end()
}

// clock returns the time since the client's start. Safe from any goroutine.
func (c *Client) clock() time.Duration { return time.Since(c.began) }

// fail keeps the first failure.
func (c *Client) fail(err error) {
	select {
	case c.failed <- err:
	default:
	}
}

// await waits for done. It returns early if there is a failure.
func (c *Client) await(ctx context.Context, done <-chan struct{}, limit time.Duration, what string) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case err := <-c.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("waited %v for %s", limit, what)
	}
}

// pause waits for d.
func (c *Client) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case err := <-c.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// each calls f for every lane, on the lanes' loops at the same time, and waits.
func (c *Client) each(f func(l *lane)) {
	c.group.Each(func(l *reactor.Loop) {
		if l.Index() < len(c.lanes) {
			f(c.lanes[l.Index()])
		}
	})
}

// opened is called when a connection is open.
func (c *Client) opened() {
	if c.unready.Add(-1) == 0 {
		close(c.ready)
	}
}

// lost is called when a connection ends.
func (c *Client) lost(number uint32, err error) {
	if !c.closing.Load() {
		c.fail(fmt.Errorf("connection %d: %w", number, err))
	}
}

var errClosedByServer = errors.New("the server closed it")
