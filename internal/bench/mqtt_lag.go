package bench

import "context"

// MQTTLag is MQTTAcknowledged with a subscriber that reads nothing for the load's duration, while the
// publishers go on, and then reads everything. The result has the number of messages that were acknowledged
// in the whole time, and how many of them the subscriber never got.
func (c *Client) MQTTLag(ctx context.Context, load Load) (Result, error) {
	r := Result{Latency: newLatency()}
	if err := load.check(); err != nil {
		return r, err
	}
	if err := c.oneLoop(); err != nil {
		return r, err
	}
	begin := c.clock()
	x := c.begin(load, newReported, closedLoop)
	if err := c.pause(ctx, load.Warmup); err != nil {
		return r, err
	}
	c.each(func(l *lane) { l.conns[0].tcp.PauseReading() })
	if err := c.pause(ctx, load.Duration); err != nil {
		return r, err
	}
	c.each(func(l *lane) {
		x[0].stop()
		l.conns[0].tcp.ResumeReading()
	})
	if _, err := c.finish(ctx, x, false); err != nil {
		return r, err
	}
	if err := c.silence(ctx, nil); err != nil {
		return r, err
	}
	r.Elapsed = c.clock() - begin
	c.each(func(l *lane) {
		for i := range x[0].senders {
			r.Messages += uint64(x[0].senders[i].got)
		}
		r.Lost = r.Messages - x[0].traffic.(*reported).came
		l.load = nil
	})
	return r, nil
}
