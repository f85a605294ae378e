package fleet

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/longline/longline/internal/message"
)

// load is a lane's share of a synthetic load. It is open-loop: messages are due at a fixed
// rate, in turn over the lane's clients, whatever the gateway does. One that its device
// cannot send when it is due is skipped and counted.
type load struct {
	rate    float64       // messages a second; 0 is none
	begin   time.Duration // on the fleet's clock
	end     time.Duration // 0 is open
	done    uint64        // messages sent or skipped
	payload []byte
	qos     message.QoS
}

// run sends what is due.
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

// finish sends what was due until now, and no more.
func (d *load) finish(l *lane) {
	d.run(l)
	d.rate = 0
}

// due is how many messages should have been sent by now.
func (d *load) due(now time.Duration) uint64 {
	if d.end > 0 {
		now = min(now, d.end)
	}
	return uint64(d.rate * max(0, now-d.begin).Seconds())
}

// since is what the latency of the next message counts from. Messages leave at ticks: one
// that was due since the tick before is on time, and counts from now; a later one counts
// from when it was due, so that a stall is not left out of the figures.
func (d *load) since(now, interval time.Duration) time.Duration {
	due := d.begin + time.Duration(float64(d.done)/d.rate*float64(time.Second))
	if now-due <= 2*interval {
		return now
	}
	return due
}

// count counts one message; offered ones are counted as sent when they leave.
func (d *load) count(l *lane, taken, sent bool) {
	switch {
	case !taken:
		l.tally.Skipped++
	case sent:
		l.tally.Sent++
	}
}

// synthetic runs the load once every device has connected or failed to, until its duration
// or ctx ends.
func (f *Fleet) synthetic(ctx context.Context) error {
	err := f.awaitTried(ctx)
	if err == nil {
		err = f.Publish(ctx, f.config.Synthetic)
	}
	return ignoreEnd(ctx, err)
}

// Publish has the devices publish at s.Rate for s.Duration, or until ctx ends, and waits
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

// awaitEnd waits for d, 0 is without end.
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

// ignoreEnd drops the error of a ctx that has ended: a synthetic load ends so.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// reading makes a payload of n bytes that looks like a meter's: a JSON object, padded with a
// member. Where n has no room for one it is a JSON string, quotes included; one byte is a number.
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
