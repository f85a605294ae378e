package main

import "sync"

// crowd is the set of open connections, for a broadcast.
type crowd[C comparable] struct {
	mu    sync.Mutex
	conns map[C]struct{}
}

func (c *crowd[C]) add(conn C) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns == nil {
		c.conns = make(map[C]struct{})
	}
	c.conns[conn] = struct{}{}
}

func (c *crowd[C]) remove(conn C) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, conn)
}

// each calls send for every connection.
func (c *crowd[C]) each(send func(C)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		send(conn)
	}
}

// messages lends buffers for one message, so that an idle connection has none.
var messages = sync.Pool{New: func() any { return new(message) }}

type message [64 << 10]byte
