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
	Lossy    bool          // answers that do not come are counted; otherwise they are an error
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
	return c.closed(ctx, load, newEcho)
}

// closed runs a closed loop of the traffic that newTraffic makes for a lane.
func (c *Client) closed(ctx context.Context, load Load, newTraffic func(l *lane, size int) traffic) (Result, error) {
	if err := load.check(); err != nil {
		return Result{}, err
	}
	return c.exchange(ctx, load, newTraffic, closedLoop)
}

// closedLoop sends the first message of each sender.
func closedLoop(x *exchange) {
	x.closedLoop = true
	for i := range x.senders {
		x.send(&x.senders[i], x.lane.client.clock())
	}
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
	exchanges := c.begin(load, newTraffic, start)
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
	r.Lost, err = c.finish(ctx, exchanges, load.Lossy)
	c.each(func(l *lane) { l.load = nil })
	return r, err
}

// begin puts a load on every lane, and starts it.
func (c *Client) begin(load Load, newTraffic func(*lane, int) traffic, start func(*exchange)) []*exchange {
	exchanges := make([]*exchange, len(c.lanes))
	c.each(func(l *lane) {
		t := newTraffic(l, load.Size)
		x := &exchange{lane: l, traffic: t, senders: t.senders(), latency: newLatency(), idle: make(chan struct{})}
		exchanges[l.loop.Index()] = x
		l.begin(x)
		start(x)
	})
	return exchanges
}

// finish waits for the answers to what was sent, and returns how many have not come.
func (c *Client) finish(ctx context.Context, exchanges []*exchange, lossy bool) (lost uint64, err error) {
	for _, x := range exchanges {
		if lossy {
			err = c.silence(ctx, x.idle)
		} else {
			err = c.await(ctx, x.idle, answerTimeout, "the last answers")
		}
		if err != nil {
			return 0, err
		}
	}
	left := make([]int, len(exchanges))
	c.each(func(l *lane) { left[l.loop.Index()] = exchanges[l.loop.Index()].outstanding })
	for _, n := range left {
		lost += uint64(n)
	}
	return lost, nil
}

const silenceTime = 2 * time.Second // after which what has not come is lost

// silence waits for done, or until nothing has come for silenceTime.
func (c *Client) silence(ctx context.Context, done <-chan struct{}) error {
	_, before := c.Progress()
	for {
		select {
		case <-done:
			return nil
		case err := <-c.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(silenceTime):
		}
		_, now := c.Progress()
		if now == before {
			return nil
		}
		before = now
	}
}

// exchange is a lane's share of a Load. Owned by the loop.
type exchange struct {
	lane        *lane
	traffic     traffic
	senders     []conn
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
	// senders are the connections that messages count as sent by.
	senders() []conn
	// send sends the next message of c. Its latency counts from since.
	send(c *conn, since time.Duration)
	// answer takes what c has got. It returns whose message that answers, nil for nobody's,
	// and what the latency counts from.
	answer(c *conn, p []byte) (of *conn, since time.Duration, err error)
}

// everyone is the part of a traffic in which each connection sends.
type everyone struct{ lane *lane }

func (e everyone) senders() []conn { return e.lane.conns }

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
	of, since, err := x.traffic.answer(c, p)
	if err != nil || of == nil {
		return err
	}
	of.got++
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
		x.send(of, now)
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
		c := &x.senders[p.sent%uint64(len(x.senders))]
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
