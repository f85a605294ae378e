package device

import (
	"context"
	"errors"
	"fmt"

	"github.com/longline/longline/internal/wire"
)

// read reads the packets of a link and passes each to its receiver, until the link ends.
func (d *Device) read(l *link) error {
	for {
		p, err := l.receive(l.ctx)
		if err != nil {
			return err
		}
		switch p.Op {
		case wire.Msg:
			err = d.queue(l, p)
		case wire.Ack:
			d.acked(l, p)
		case wire.Call:
			d.called(l, p)
		case wire.Reply:
			l.replied(p)
		default:
			err = errors.New("device: the gateway sent a packet that only devices send, or a second hello")
		}
		if err != nil {
			return err
		}
	}
}

// acked gives an ack to the publication or exchange that it answers.
func (d *Device) acked(l *link, p *wire.Packet) {
	if p.ID == l.renewal.Load() && p.Err.Code == "" {
		l.lifetime.Store(int64(p.Lifetime))
	}
	if err := refusal(p.Err); !l.answered(p.ID, err) {
		d.outbox.settle(p.ID, err)
	}
}

// ask sends a sub or unsub of one filter over the current link, or the next one, and waits for its ack.
func (d *Device) ask(ctx context.Context, p *wire.Packet) error {
	for {
		l, err := d.link(ctx)
		if err != nil {
			return err
		}
		if err = d.askOn(ctx, l, p); !errors.Is(err, errLost) {
			return err
		}
		select {
		case <-l.ctx.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *Device) askOn(ctx context.Context, l *link, p *wire.Packet) error {
	p.ID = d.lastID.Add(1)
	return d.exchange(ctx, l, p, p.Filters[0])
}

// exchange sends a packet and waits for its ack on the same link.
func (d *Device) exchange(ctx context.Context, l *link, p *wire.Packet, what string) error {
	frame, err := d.encode(p)
	if err != nil {
		return err
	}
	answer := make(chan error, 1)
	l.expect(p.ID, answer)
	defer l.expect(p.ID, nil)
	if err := l.send(frame); err != nil {
		return err
	}
	return d.await(ctx, what, answer, l.ctx.Done())
}

// await returns the outcome from answer, or errLost if ended is closed before (nil never is), or an error that says why
// there is no outcome yet.
func (d *Device) await(ctx context.Context, what string, answer <-chan error, ended <-chan struct{}) error {
	var full <-chan struct{}
	if ctx.Value(inHandler{}) != nil {
		full = d.full
	}
	for told := false; ; {
		select {
		case err := <-answer:
			return err
		case <-full:
			if told { // the first element may be from before this handler made room
				return ErrNotAwaited
			}
			told = true
		case <-ended:
			return errLost
		case <-ctx.Done():
			return fmt.Errorf("device: %q is not answered yet: %w", what, ctx.Err())
		}
	}
}

// link returns the current link, or waits for the next one.
func (d *Device) link(ctx context.Context) (*link, error) {
	for {
		d.mu.Lock()
		l, changed := d.live, d.changed
		d.mu.Unlock()
		if l != nil && l.ctx.Err() == nil {
			return l, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("device: not connected: %w", ctx.Err())
		case <-d.ctx.Done():
			return nil, d.closedError()
		}
	}
}

// encode returns the frame of p.
func (d *Device) encode(p *wire.Packet) ([]byte, error) {
	frame, err := d.codec.Append(nil, p)
	if err != nil {
		return nil, fmt.Errorf("device: %w", err)
	}
	return frame, d.fits(frame)
}

// fits returns an error if the frame is larger than the gateway accepts, as its last hello said.
func (d *Device) fits(frame []byte) error {
	if limit := d.limit.Load(); limit > 0 && int64(len(frame)) > limit {
		return fmt.Errorf("%w: %d bytes of %d", ErrTooLarge, len(frame), limit)
	}
	return nil
}
