package session

import (
	"runtime"
	"sync"
)

// backlogPart is how many items the caller of run handles itself.
const backlogPart = 64

// backlog is a list of work that run does one at a time, in the order of add. add is called with a session locked; the
// work is done without locks, because a session may be a receiver. If nobody is working, the caller of run does a few
// items, which mostly is all. It leaves the rest, for example when a network fails, to a goroutine that ends when the
// list is empty, so that no loop works for all.
type backlog[T any] struct {
	do func(*T) // does one item, in bounded time; called without locks

	// Safe from any goroutine.
	worker sync.WaitGroup

	// Guarded by mu, under which nothing else is locked.
	mu      sync.Mutex
	list    []T
	running bool // somebody is working
}

// add appends items. The caller may have locked a session.
func (c *backlog[T]) add(all ...T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, all...)
}

// run does the added work, unless somebody is working already. The caller holds no lock.
func (c *backlog[T]) run() {
	if c.begin() && !c.doSome() {
		c.worker.Go(func() {
			for !c.doSome() {
				runtime.Gosched()
			}
		})
	}
}

// begin reports whether the caller shall work: there is work and nobody is working.
func (c *backlog[T]) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running || len(c.list) == 0 {
		return false
	}
	c.running = true
	return true
}

// doSome does up to backlogPart items and reports whether the list is empty. If so, somebody else may begin.
func (c *backlog[T]) doSome() (done bool) {
	for did := 0; !done && did < backlogPart; {
		some := c.take(backlogPart - did)
		for i := range some {
			c.do(&some[i])
		}
		did += len(some)
		done = c.did(some)
	}
	return done
}

// take removes and returns the first n items, or as many as there are.
func (c *backlog[T]) take(n int) []T {
	c.mu.Lock()
	defer c.mu.Unlock()
	some := c.list[:min(len(c.list), n)]
	c.list = c.list[len(some):]
	return some
}

// did notes that some are done, and reports whether the list is empty.
func (c *backlog[T]) did(some []T) bool {
	clear(some)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.list) > 0 {
		return false
	}
	if c.list, c.running = nil, false; cap(some) <= backlogPart {
		c.list = some[:0] // for the next ones
	}
	return true
}

// wait waits for the goroutine that run has started.
func (c *backlog[T]) wait() { c.worker.Wait() }
