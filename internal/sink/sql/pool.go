package sql

import (
	"context"
	"errors"
	"sync"
)

// session is a connection to a server, for one goroutine at a time.
type session interface {
	// write writes work in one transaction, or none of it. After an error that is about a message, the connection has no open transaction.
	write(ctx context.Context, work []batch, h how) error
	// exec executes a statement without parameters.
	exec(ctx context.Context, text string) error
	// place returns the place that the server has; known is false if it has none.
	place(ctx context.Context, key placeKey) (place uint64, known bool, err error)
	// close ends the connection; politely, unless the server does not answer.
	close(politely bool)
}

// batch are rows for one table.
type batch struct {
	table  *table
	rows   [][]any
	copied bool // by PostgreSQL's COPY
}

// how says how a batch is written.
type how struct {
	move *move // of the place, in the same transaction; may be nil
	undo bool  // the transaction is undone, if it could have been made
	anew bool  // rows that are there already need not be expected
}

// end ends a transaction that has come to err.
func end(ctx context.Context, s session, h how, err error) error {
	if err == nil && !h.undo {
		return s.exec(ctx, "commit")
	}
	if undone := s.exec(ctx, "rollback"); undone != nil {
		return undone // it means later: the connection cannot be used again
	}
	return err
}

// pool keeps connections that nobody uses. A lane uses one at a time, so there are never more connections than lanes. It is safe from any goroutine.
type pool struct {
	dial func(context.Context) (session, error)

	mu sync.Mutex
	// Guarded by mu.
	idle   []session
	closed bool
}

var errClosed = errors.New("the sink is closed")

// take returns a connection.
func (p *pool) take(ctx context.Context) (session, error) {
	p.mu.Lock()
	n := len(p.idle) - 1
	if p.closed {
		p.mu.Unlock()
		return nil, errClosed
	}
	if n >= 0 {
		s := p.idle[n]
		p.idle = p.idle[:n]
		p.mu.Unlock()
		return s, nil
	}
	p.mu.Unlock()
	return p.dial(ctx)
}

// give takes back a connection that is well.
func (p *pool) give(s session) {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.idle = append(p.idle, s)
	}
	p.mu.Unlock()
	if closed {
		s.close(true)
	}
}

// drop ends the connections that nobody uses, because the server failed.
func (p *pool) drop() {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, s := range idle {
		s.close(false)
	}
}

// close ends all connections, also those that come back later.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, s := range idle {
		s.close(true)
	}
}
