package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

// decode decodes a packet into the lane's packet. Its operation must be op.
func (c *conn) decode(p []byte, op wire.Op) error {
	packet := &c.lane.packet
	if err := wire.Protobuf.Decode(packet, p, false); err != nil {
		return err
	}
	if packet.Op != op {
		return fmt.Errorf("%v, want %v", packet.Op, op)
	}
	return nil
}

// encode sends a packet.
func (c *conn) encode(p *wire.Packet) error {
	b, err := wire.Protobuf.Append(c.lane.scratch[:0], p)
	if err != nil {
		return err
	}
	c.lane.scratch = b
	c.write(websocket.Binary, b)
	return nil
}

// Uplink makes the devices in turn publish with QoS 1 on device/ID/telemetry, at a fixed rate. The
// latency of a message is the time from when it was due until it is acknowledged.
func (c *Client) Uplink(ctx context.Context, load Load) (Result, error) {
	return c.paced(ctx, load, newUplink)
}

// uplink is the traffic of publications. The id of each is the time from which its latency counts,
// so that the lane need not remember it.
type uplink struct {
	everyone
	packet wire.Packet
}

func newUplink(l *lane, size int) traffic {
	u := &uplink{everyone{l}, wire.Packet{Op: wire.Pub}}
	u.packet.Message.Payload = make([]byte, size)
	u.packet.Message.QoS = message.AtLeastOnce
	return u
}

func (u *uplink) send(c *conn, since time.Duration) {
	u.packet.ID = uint64(since) + 1 // ids start at 1
	u.packet.Message.Topic = "device/" + c.id() + "/telemetry"
	if err := c.encode(&u.packet); err != nil {
		c.lane.client.fail(err)
	}
}

func (u *uplink) answer(c *conn, p []byte) (of *conn, since time.Duration, err error) {
	if err := c.decode(p, wire.Ack); err != nil {
		return nil, 0, err
	}
	if e := c.lane.packet.Err; e.Code != "" {
		return nil, 0, fmt.Errorf("a publication was refused: %s %s", e.Code, e.Reason)
	}
	return c, time.Duration(c.lane.packet.ID - 1), nil
}

// Fanout calls trigger, which must send a message to every device, once to warm up and then rounds times.
// Each round begins when the last message has arrived everywhere. The latency of a round is the time until the
// last device has the message.
func (c *Client) Fanout(ctx context.Context, rounds int, trigger func() error) (Result, error) {
	if rounds < 1 {
		return Result{}, fmt.Errorf("%d rounds: want one at least", rounds)
	}
	return c.gather(ctx, rounds, func(c *conn, p []byte) error { return c.decode(p, wire.Msg) }, trigger)
}

// answering is the load of calls: devices answer with the payload of the call.
type answering struct{}

func (answering) received(c *conn, p []byte) error {
	if err := c.decode(p, wire.Call); err != nil {
		return err
	}
	q := &c.lane.packet
	return c.encode(&wire.Packet{Op: wire.Reply, ID: q.ID, Payload: q.Payload, ContentType: q.ContentType})
}

const callers = 256 // most unanswered calls

// Command uses call to call random devices at a fixed rate. The latency of each call counts from
// when it was due, also if all callers were busy then.
func (c *Client) Command(ctx context.Context, load Load, call func(ctx context.Context, device string) error) (Result, error) {
	if err := load.check(); err != nil {
		return Result{}, err
	}
	if !(load.Rate > 0 && load.Rate <= maxRate) {
		return Result{}, fmt.Errorf("rate %v: want up to %d calls per second", load.Rate, maxRate)
	}
	c.each(func(l *lane) { l.begin(answering{}) })
	r := Result{Latency: newLatency()}
	cpu, err := c.target.Process.CPU()
	if err != nil {
		return r, err
	}
	p := &calls{client: c, load: load, call: call, begin: c.clock(), latency: r.Latency}
	p.run(ctx)
	r.Messages, r.Elapsed = uint64(r.Latency.TotalCount()), c.clock()-p.begin
	after, err := c.target.Process.CPU()
	r.CPU = after - cpu
	if err == nil {
		err = p.err
	}
	c.each(func(l *lane) { l.load = nil })
	return r, err
}

// calls is one run of Command.
type calls struct {
	client *Client
	load   Load
	call   func(ctx context.Context, device string) error
	begin  time.Duration
	next   atomic.Uint64

	mu      sync.Mutex
	latency *hdrhistogram.Histogram
	err     error // the first error
}

func (p *calls) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			if err := p.caller(ctx); err != nil {
				p.fail(err)
				cancel()
			}
		})
	}
	wg.Wait()
}

// caller makes one call after another, until no more are due.
func (p *calls) caller(ctx context.Context) error {
	for {
		after := time.Duration(float64(p.next.Add(1)-1) / p.load.Rate * float64(time.Second))
		if after >= p.load.Duration {
			return nil
		}
		due := p.begin + after
		if err := p.client.pause(ctx, due-p.client.clock()); err != nil {
			return err
		}
		if err := p.call(ctx, p.client.randomDevice()); err != nil {
			return err
		}
		p.record(p.client.clock() - due)
	}
}

func (p *calls) record(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	record(p.latency, d)
}

func (p *calls) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
}

func (c *Client) randomDevice() string {
	l := c.lanes[rand.IntN(len(c.lanes))]
	return l.conns[rand.IntN(len(l.conns))].id()
}
