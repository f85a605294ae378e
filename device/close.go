package device

import (
	"context"
	"fmt"
	"sync"
)

// Close ends the device in order: no handler is started any more, and those that run are
// awaited; what was published is sent and acknowledged, if need be over a new connection;
// then the connection is closed with code 1000. The session stays at the gateway until it
// expires.
//
// When ctx ends first, Close cuts the rest short and says what was left; goroutines that
// wait for the peer or for a handler end by themselves, the former within 10 seconds.
func (d *Device) Close(ctx context.Context) error {
	d.mu.Lock()
	d.stopping = true
	d.mu.Unlock()
	err := finished(ctx, &d.handlers, "a handler still runs")
	select {
	case <-d.outbox.seal(ErrClosed):
	case <-ctx.Done():
	case <-d.ctx.Done():
	}
	if n := d.outbox.discard(ErrClosed); n > 0 && ctx.Err() != nil {
		err = fmt.Errorf("device: closed before the gateway took %d messages: %w", n, ctx.Err())
	}
	d.cancel(ErrClosed)
	if e := finished(ctx, &d.workers, "the connection still closes"); err == nil {
		err = e
	}
	return err
}

// finished returns when wg is done, or with what ctx cut short.
func finished(ctx context.Context, wg *sync.WaitGroup, what string) error {
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("device: %s: %w", what, ctx.Err())
	}
}

// begin counts a handler in, unless the device is closing. It is ended by handlers.Done.
func (d *Device) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping || d.ctx.Err() != nil {
		return false
	}
	d.handlers.Add(1)
	return true
}
