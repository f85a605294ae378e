package bridge

import (
	"context"
	"fmt"
	"time"

	"github.com/longline/longline/internal/wire/mqtt"
)

// batch is the publications of one call of Publish. Guarded by Conn.mu.
type batch struct {
	results []error // of publications that are not open
	open    []bool  // was sent and has no answer yet
	left    int     // how many are open
	sent    bool    // no more of them will be sent
	done    chan struct{}
}

// waiting is a publication that waits for its acknowledgement.
type waiting struct {
	batch *batch // nil if none waits under the identifier
	at    int
}

// TooLarge is why a publication is not sent: it is larger than the broker takes.
type TooLarge struct{ Size, Most int }

func (e *TooLarge) Error() string {
	return fmt.Sprintf("the broker takes packets of up to %d bytes, and this one has %d", e.Most, e.Size)
}

// Rejected is a broker's reason not to take a publication, in its PUBACK.
type Rejected struct {
	Code mqtt.Code
	Text string // the broker's own words, may be empty
}

func (e *Rejected) Error() string { return words("the broker does not take it", e.Code, e.Text) }

// Publish sends n publications of QoS 1 in order, as far as identifiers and room allow ahead of acknowledgements, and returns when all are answered, the
// connection ends or ctx does. fill makes publication i, for the call alone. results[i] is nil if the broker has acknowledged publication i, and
// otherwise why it has not: an *mqtt.Error or a *TooLarge if it cannot be sent, a *Rejected, or the error of the connection.
func (c *Conn) Publish(ctx context.Context, n int, fill func(i int, p *mqtt.Packet)) (results []error) {
	b := &batch{results: make([]error, n), open: make([]bool, n), done: make(chan struct{})}
	var p mqtt.Packet
	var err error
	i := 0
	for ; i < n && err == nil; i++ {
		p.Reset()
		fill(i, &p)
		err = c.publishOne(ctx, b, i, &p)
	}
	c.wake()
	c.mu.Lock()
	for ; i < n; i++ {
		b.results[i] = err
	}
	if b.sent = true; b.left == 0 {
		close(b.done)
	}
	c.mu.Unlock()
	err = nil
	select {
	case <-b.done:
	case <-c.gone:
		err = c.Err()
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, open := range b.open {
		if open {
			b.results[i] = err
		}
	}
	return append([]error(nil), b.results...) // an answer that comes later changes b
}

// publishOne sends a publication. What is wrong with it alone is its result; err says that those behind it cannot be sent either.
func (c *Conn) publishOne(ctx context.Context, b *batch, i int, p *mqtt.Packet) (err error) {
	var id uint16
	select {
	case id = <-c.ids:
	default:
		c.wake() // what was appended may be what frees one
		select {
		case id = <-c.ids:
		case <-c.gone:
			err = c.Err()
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err == nil {
		err = c.room(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		err = c.err
	}
	if err != nil {
		if b.results[i] = err; id != 0 {
			c.ids <- id
		}
		return err
	}
	before := len(c.out)
	p.Type, p.ID, p.QoS = mqtt.Publish, id, 1
	out, wrong := mqtt.Append(c.out, c.broker.version, p)
	if size := len(out) - before; wrong == nil && size > c.Limits.Packet {
		wrong = &TooLarge{size, c.Limits.Packet}
	}
	if wrong != nil {
		b.results[i] = wrong
		c.ids <- id
		return nil
	}
	c.out = out
	if c.open == 0 {
		c.progress = time.Now()
	}
	c.open++
	b.open[i], b.left = true, b.left+1
	c.waiting[id] = waiting{b, i}
	return nil
}

// room waits until there is room for more bytes to be written.
func (c *Conn) room(ctx context.Context) error {
	for {
		c.mu.Lock()
		full, wrote := len(c.out) >= mostOut, c.wrote
		c.mu.Unlock()
		if !full {
			return nil
		}
		c.wake()
		select {
		case <-wrote:
		case <-c.gone:
			return c.Err()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// acknowledged takes a PUBACK.
func (c *Conn) acknowledged(p *mqtt.Packet) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if int(p.ID) >= len(c.waiting) || c.waiting[p.ID].batch == nil {
		return fmt.Errorf("the broker acknowledged publication %d, which it did not get", p.ID)
	}
	w := c.waiting[p.ID]
	c.waiting[p.ID] = waiting{}
	if p.Reason.Failed() {
		w.batch.results[w.at] = &Rejected{p.Reason, string([]byte(p.Properties.ReasonString))}
	}
	w.batch.open[w.at] = false
	if w.batch.left--; w.batch.left == 0 && w.batch.sent {
		close(w.batch.done)
	}
	c.open--
	c.progress = time.Now()
	c.ids <- p.ID
	return nil
}
