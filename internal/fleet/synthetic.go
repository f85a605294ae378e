package fleet

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/longline/longline/internal/message"
)

// load is a lane's share of a synthetic load. It is an open loop: messages are due at a fixed
// rate, from each of the lane's clients in turn, whatever the gateway does. If a device
// cannot send a message when it is due, the lane skips and counts it.
type load struct {
	rate    float64       // messages per second; 0 means none
	begin   time.Duration // on the fleet's clock
	end     time.Duration // 0 means no end
	done    uint64        // messages sent or skipped
	payload []byte
	qos     message.QoS
}

// run sends the messages that are due.
func (d *load) run(l *lane) {
	if d.rate == 0 {
		return
	}
	now := l.fleet.clock()
	for due := d.due(now); d.done < due; d.done++ {
		c := &l.clients[d.done%uint64(len(l.clients))]
		if d.qos == message.AtLeastOnce {
			d.count(l, c.offer(d.payload, d.since(now, l.fleet.interval)), false)
		} else {
			d.count(l, c.publishNow(d.payload), true)
		}
	}
}

// finish sends the messages that are due now, and ends the load.
func (d *load) finish(l *lane) {
	d.run(l)
	d.rate = 0
}

// due returns how many messages should have been sent by now.
func (d *load) due(now time.Duration) uint64 {
	if d.end > 0 {
		now = min(now, d.end)
	}
	return uint64(d.rate * max(0, now-d.begin).Seconds())
}

// since returns the time from which the latency of the next message counts. Messages are sent at ticks. A message
// that became due since the last tick is on time, and counts from now. A message that is late counts
// from when it was due, so that the figures include a stall.
func (d *load) since(now, interval time.Duration) time.Duration {
	due := d.begin + time.Duration(float64(d.done)/d.rate*float64(time.Second))
	if now-due <= 2*interval {
		return now
	}
	return due
}

// count counts one message as done or skipped. Those in an outbox are counted as sent when they are written.
func (d *load) count(l *lane, taken, sent bool) {
	switch {
	case !taken:
		l.tally.Skipped++
	case sent:
		l.tally.Sent++
	}
}

// synthetic waits until every device has connected or failed to, and then runs the load until its duration
// is over or ctx ends.
func (f *Fleet) synthetic(ctx context.Context) error {
	err := f.awaitTried(ctx)
	if err == nil {
		err = f.Publish(ctx, f.config.Synthetic)
	}
	return ignoreEnd(ctx, err)
}

// Publish makes the devices publish at s.Rate for s.Duration, or until ctx ends, and waits
// for the answers. Only one call may run at a time.
func (f *Fleet) Publish(ctx context.Context, s Synthetic) error {
	payload := reading(s.Payload, time.Now())
	begin := f.clock()
	f.each(func(l *lane) {
		share := float64(len(l.clients)) / float64(f.devices)
		l.load = load{rate: s.Rate * share, begin: begin, payload: payload, qos: s.QoS}
		if s.Duration > 0 {
			l.load.end = begin + s.Duration
		}
		l.busy.Store(true)
	})
	err := f.awaitEnd(ctx, s.Duration)
	f.each(func(l *lane) { l.load.finish(l) })
	f.drain()
	return err
}

// awaitEnd waits for d; 0 means without end.
func (f *Fleet) awaitEnd(ctx context.Context, d time.Duration) error {
	var over <-chan time.Time
	if d > 0 {
		over = time.After(d)
	}
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-f.dead:
		return f.gaveUp()
	}
}

// ignoreEnd returns nil for the error of a ctx that has ended, because that is how a synthetic load ends.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// reading returns a payload of n bytes that looks like a meter's: a JSON object, padded by a
// member. If n is too small for that, it is a JSON string, or for one byte a number.
func reading(n int, at time.Time) []byte {
	const end = `"}`
	b := fmt.Appendf(nil, `{"ts":%d,"kwh":1234.567,"v":230.1`, at.UnixMilli())
	switch short := n - len(b); {
	case n == 0:
		return nil
	case n == 1:
		return []byte{'0'}
	case short == 1:
		return append(b, '}')
	case short < len(padding)+len(end):
		return append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, n-2)...), '"')
	}
	b = append(b, padding...)
	b = append(b, bytes.Repeat([]byte{'x'}, n-len(b)-len(end))...)
	return append(b, end...)
}

const padding = `,"pad":"`
