package bench

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/websocket"
)

// Broadcast makes the server send a message to every connection, once to warm up and then rounds
// times. Each round begins when the last message has arrived everywhere. The latency of a round is the time
// until the last connection has the message.
func (c *Client) Broadcast(ctx context.Context, rounds int) (Result, error) {
	if rounds < 1 {
		return Result{}, fmt.Errorf("%d broadcasts: want one at least", rounds)
	}
	return c.gather(ctx, rounds, checkAnnouncement, func() error {
		c.each(func(l *lane) {
			if l == c.lanes[0] {
				l.conns[0].write(websocket.Binary, []byte{'B'})
			}
		})
		return nil
	})
}

// gather runs one round to warm up and then the given number. trigger begins a round: it makes the server send a message to all.
func (c *Client) gather(ctx context.Context, rounds int, check func(*conn, []byte) error, trigger func() error) (Result, error) {
	g := &gathering{conns: int64(c.conns), check: check, trigger: trigger, whole: make(chan struct{}, 1)}
	c.each(func(l *lane) { l.begin(g) })
	r := Result{Latency: newLatency()}
	if _, err := c.round(ctx, g); err != nil {
		return r, err
	}
	cpu, err := c.target.Process.CPU()
	if err != nil {
		return r, err
	}
	begin := c.clock()
	for range rounds {
		d, err := c.round(ctx, g)
		if err != nil {
			return r, err
		}
		record(r.Latency, d)
		r.Messages += uint64(c.conns)
	}
	r.Elapsed = c.clock() - begin
	after, err := c.target.Process.CPU()
	r.CPU = after - cpu
	c.each(func(l *lane) { l.load = nil })
	return r, err
}

// round is one broadcast.
func (c *Client) round(ctx context.Context, g *gathering) (time.Duration, error) {
	begin := c.clock()
	g.left.Store(g.conns)
	g.rounds.Add(1)
	if err := g.trigger(); err != nil {
		return 0, err
	}
	err := c.await(ctx, g.whole, answerTimeout, "a broadcast to arrive everywhere")
	return c.clock() - begin, err
}

// gathering is the load of a broadcast, shared by the lanes. Safe from any goroutine.
type gathering struct {
	conns   int64
	check   func(c *conn, p []byte) error
	trigger func() error

	rounds atomic.Uint32
	left   atomic.Int64 // connections that do not have the round's message yet
	whole  chan struct{}
}

func (g *gathering) received(c *conn, p []byte) error {
	if err := g.check(c, p); err != nil {
		return err
	}
	if c.got++; c.got > g.rounds.Load() {
		return fmt.Errorf("%d broadcasts, and %d were asked for", c.got, g.rounds.Load())
	}
	if g.left.Add(-1) == 0 {
		g.whole <- struct{}{}
	}
	return nil
}

func checkAnnouncement(_ *conn, p []byte) error {
	if !bytes.Equal(p, Announcement) {
		return fmt.Errorf("a broadcast of %d bytes that is not the announcement", len(p))
	}
	return nil
}
