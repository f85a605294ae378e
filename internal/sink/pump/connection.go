package pump

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/singleflight"
)

// Connection is a connection, or a client, that all lanes of a target use. Its methods are safe from any goroutine.
type Connection[C comparable] struct {
	// Static after construction.

	// Dial makes a connection. It is called when one is needed, on a goroutine of its own and not twice at a time. It should end soon when ctx
	// ends, which it does with Close, and in any case within a bounded time.
	Dial func(ctx context.Context) (C, error)
	// End ends a connection.
	End func(C)

	dials singleflight.Group

	mu sync.Mutex
	// Guarded by mu.
	current C // the zero value if there is none
	closed  bool
	cancel  context.CancelFunc // of Dial; nil if it does not run
}

var errClosed = errors.New("the sink is closed")

// Get returns the connection, and makes it if there is none. It waits no longer than ctx.
func (c *Connection[C]) Get(ctx context.Context) (C, error) {
	var none C
	c.mu.Lock()
	current, closed := c.current, c.closed
	c.mu.Unlock()
	switch {
	case closed:
		return none, errClosed
	case current != none:
		return current, nil
	}
	select {
	case r := <-c.dials.DoChan("", c.dial):
		if r.Err != nil {
			return none, r.Err
		}
		return r.Val.(C), nil
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func (c *Connection[C]) dial() (any, error) {
	var none C
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.mu.Lock()
	c.cancel = cancel
	current, closed := c.current, c.closed
	c.mu.Unlock()
	switch {
	case closed:
		return nil, errClosed
	case current != none: // it was made since Get has looked
		return current, nil
	}
	made, err := c.Dial(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel = nil
	switch {
	case err != nil:
		return nil, err
	case c.closed:
		c.End(made)
		return nil, errClosed
	}
	c.current = made
	return made, nil
}

// Drop forgets a connection that has ended, so that the next Get makes another.
func (c *Connection[C]) Drop(ended C) {
	var none C
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == ended {
		c.current = none
	}
}

// Close ends the connection, and what Get is about to make.
func (c *Connection[C]) Close() {
	var none C
	c.mu.Lock()
	current, cancel := c.current, c.cancel
	c.current, c.closed = none, true
	c.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	if current != none {
		c.End(current)
	}
}
