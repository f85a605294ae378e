package device

import (
	"context"
	"fmt"
	"sync"
)

// Close ends the device in order. It starts no more handlers and waits for those that run. It sends every
// publication and waits for the acknowledgements, over a new connection if necessary.
// Then it closes the connection with code 1000. The gateway keeps the session until it
// expires.
//
// If ctx ends first, Close skips the rest and returns an error that says what was left. Goroutines that
// wait for the gateway then end within 10 seconds, and those of handlers when the handlers return.
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

// finished waits for wg. If ctx ends first, the error names what was not finished.
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

// begin reports whether a handler may start. If so, it counts the handler, which calls handlers.Done at its end.
func (d *Device) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping || d.ctx.Err() != nil {
		return false
	}
	d.handlers.Add(1)
	return true
}
