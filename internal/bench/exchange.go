package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/longline/longline/internal/reactor"
)

// Load is a stream of messages that come back.
type Load struct {
	Size     int           // bytes of a message, MinSize at least; 0 is 128
	Warmup   time.Duration // before what is measured
	Duration time.Duration // of what is measured
	Rate     float64       // messages a second over all connections; used by Paced
}

// MinSize has room for what a message carries: the connection's number, the message's, and
// the time that its latency counts from.
const MinSize = 16

const (
	maxSize        = 1 << 20
	maxRate        = 5_000_000
	maxOutstanding = 1 << 18 // messages of a lane without their answer
)

func (l *Load) check() error {
	if l.Size == 0 {
		l.Size = 128
	}
	if l.Size < MinSize || l.Size > maxSize {
		return fmt.Errorf("messages of %d bytes: want %d to %d", l.Size, MinSize, maxSize)
	}
	if l.Duration <= 0 || l.Warmup < 0 {
		return fmt.Errorf("%v after %v of warming up: want a time to measure", l.Duration, l.Warmup)
	}
	return nil
}

// Echo is a closed loop: each connection sends its next message when the last has come back.
// The latency is that of an answer, and says nothing about a server that is not asked: see
// Paced.
func (c *Client) Echo(ctx context.Context, load Load) (Result, error) {
	if err := load.check(); err != nil {
		return Result{}, err
	}
	return c.exchange(ctx, load, newEcho, func(x *exchange) {
		x.closedLoop = true
		for i := range x.lane.conns {
			x.send(&x.lane.conns[i], c.clock())
		}
	})
}

// Paced is an open loop: messages leave at a fixed rate, in turn over the connections,
// whatever the server does. The latency of each counts from when it was due, so that a server
// that stalls cannot hide it (no coordinated omission).
func (c *Client) Paced(ctx context.Context, load Load) (Result, error) {
	return c.paced(ctx, load, newEcho)
}

// paced runs an open loop of the traffic that newTraffic makes for a lane.
func (c *Client) paced(ctx context.Context, load Load, newTraffic func(l *lane, size int) traffic) (Result, error) {
	if err := load.check(); err != nil {
		return Result{}, err
	}
	if !(load.Rate > 0 && load.Rate <= maxRate) {
		return Result{}, fmt.Errorf("rate %v: want up to %d messages a second", load.Rate, maxRate)
	}
	return c.exchange(ctx, load, newTraffic, func(x *exchange) {
		share := load.Rate * float64(len(x.lane.conns)) / float64(c.conns)
		x.lane.loop.Post(&pacer{exchange: x, begin: c.clock(), rate: share})
	})
}

// exchange runs a load: warm up, measure, and wait for what is outstanding.
func (c *Client) exchange(ctx context.Context, load Load, newTraffic func(*lane, int) traffic, start func(*exchange)) (Result, error) {
	exchanges := make([]*exchange, len(c.lanes))
	c.each(func(l *lane) {
		x := &exchange{lane: l, traffic: newTraffic(l, load.Size), latency: newLatency(), idle: make(chan struct{})}
		exchanges[l.loop.Index()] = x
		l.begin(x)
		start(x)
	})
	err := c.pause(ctx, load.Warmup)
	if err != nil {
		return Result{}, err
	}
	r := Result{Latency: newLatency()}
	cpu, err := c.target.Process.CPU()
	if err != nil {
		return r, err
	}
	begin := c.clock()
	c.each(func(l *lane) { exchanges[l.loop.Index()].measure() })
	if err := c.pause(ctx, load.Duration); err != nil {
		return r, err
	}
	after, err := c.target.Process.CPU()
	r.CPU, r.Elapsed = after-cpu, c.clock()-begin
	c.each(func(l *lane) { exchanges[l.loop.Index()].stop() })
	for _, x := range exchanges {
		r.Messages += x.answered
		r.Latency.Merge(x.latency)
	}
	if err != nil {
		return r, err
	}
	return r, c.finish(ctx, exchanges)
}

// finish waits for the answers to what was sent.
func (c *Client) finish(ctx context.Context, exchanges []*exchange) error {
	for _, x := range exchanges {
		if err := c.await(ctx, x.idle, answerTimeout, "the last answers"); err != nil {
			return err
		}
	}
	c.each(func(l *lane) { l.load = nil })
	return nil
}

// exchange is a lane's share of a Load. Owned by the loop.
type exchange struct {
	lane        *lane
	traffic     traffic
	closedLoop  bool
	stopped     bool
	outstanding int
	measuring   bool
	answered    uint64 // while measuring
	latency     *hdrhistogram.Histogram
	idle        chan struct{} // closed when it has stopped and nothing is outstanding
}

// traffic is what is sent, and how its answer is told.
type traffic interface {
	// send sends the next message of c. Its latency counts from since.
	send(c *conn, since time.Duration)
	// answer takes the answer to a message of c, and returns what the latency counts from.
	answer(c *conn, p []byte) (since time.Duration, err error)
}

func (x *exchange) measure() { x.measuring = true }

func (x *exchange) stop() {
	x.measuring, x.stopped = false, true
	if x.outstanding == 0 {
		close(x.idle)
	}
}

func (x *exchange) send(c *conn, since time.Duration) {
	x.outstanding++
	x.traffic.send(c, since)
	c.sent++
}

func (x *exchange) received(c *conn, p []byte) error {
	since, err := x.traffic.answer(c, p)
	if err != nil {
		return err
	}
	c.got++
	x.outstanding--
	now := x.lane.client.clock()
	if x.measuring {
		x.answered++
		record(x.latency, now-since)
	}
	switch {
	case x.stopped && x.outstanding == 0:
		close(x.idle)
	case x.closedLoop && !x.stopped:
		x.send(c, now)
	}
	return nil
}

// pacer is a reactor.Task that sends what is due and posts itself again: while it does, the
// loop polls instead of sleeping, so that a message leaves when it is due.
type pacer struct {
	exchange *exchange
	begin    time.Duration // on the client's clock
	rate     float64       // messages a second
	sent     uint64
}

// Run implements reactor.Task.
func (p *pacer) Run(l *reactor.Loop) {
	x := p.exchange
	if x.stopped {
		return
	}
	now := x.lane.client.clock()
	for due := p.due(); due <= now; due = p.due() {
		c := &x.lane.conns[p.sent%uint64(len(x.lane.conns))]
		if x.outstanding >= maxOutstanding {
			x.lane.client.fail(fmt.Errorf("the server is %d messages behind", x.outstanding))
			return
		}
		x.send(c, due)
		p.sent++
	}
	l.Post(p)
}

// due is when the next message is to leave.
func (p *pacer) due() time.Duration {
	return p.begin + time.Duration(float64(p.sent)/p.rate*float64(time.Second))
}
