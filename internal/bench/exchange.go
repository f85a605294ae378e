package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/longline/longline/internal/reactor"
)

// Load is a stream of messages that the server answers.
type Load struct {
	Size     int           // bytes per message, at least MinSize; 0 means 128
	Warmup   time.Duration // how long the load runs before it is measured
	Duration time.Duration // how long the load is measured
	Rate     float64       // messages per second, of all connections together; only for Paced
	Lossy    bool          // missing answers are counted; otherwise they are an error
}

// MinSize is the size of what a message carries: the numbers of the connection and of the message, and
// the time from which its latency counts.
const MinSize = 16

const (
	maxSize        = 1 << 20
	maxRate        = 5_000_000
	maxOutstanding = 1 << 18 // unanswered messages of a lane
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

// Echo is a closed loop: each connection sends its next message when the last one has come back.
// While the server stalls, connections send nothing, so the latency does not show how long others would wait: see
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

// Paced is an open loop: messages leave at a fixed rate, from each connection in turn,
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
		return Result{}, fmt.Errorf("rate %v: want up to %d messages per second", load.Rate, maxRate)
	}
	return c.exchange(ctx, load, newTraffic, func(x *exchange) {
		share := load.Rate * float64(len(x.lane.conns)) / float64(c.conns)
		x.lane.loop.Post(&pacer{exchange: x, begin: c.clock(), rate: share})
	})
}

// exchange runs a load: it warms up, measures, and waits for outstanding answers.
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

// begin gives every lane its load and starts it.
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

// finish waits for outstanding answers and returns how many are missing.
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

const silenceTime = 2 * time.Second // after this time without any answer, missing messages count as lost

// silence waits for done, or until nothing has arrived for silenceTime.
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
	idle        chan struct{} // closed when the load has stopped and nothing is outstanding
}

// traffic says what a load sends, and which messages are answers.
type traffic interface {
	// senders returns the connections that count as senders.
	senders() []conn
	// send sends the next message of c, whose latency counts from since.
	send(c *conn, since time.Duration)
	// answer checks a message that c has received. It returns the connection whose message it answers, or nil if it answers none,
	// and the time from which the latency counts.
	answer(c *conn, p []byte) (of *conn, since time.Duration, err error)
}

// everyone is embedded in a traffic in which every connection sends.
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

// pacer is a reactor.Task that sends the messages that are due and posts itself again. Because of that the
// loop polls instead of sleeping, and messages leave when they are due.
type pacer struct {
	exchange *exchange
	begin    time.Duration // on the client's clock
	rate     float64       // messages per second
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

// due returns the time at which the next message is due.
func (p *pacer) due() time.Duration {
	return p.begin + time.Duration(float64(p.sent)/p.rate*float64(time.Second))
}
