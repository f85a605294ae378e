package session

import (
	"runtime"
	"sync"
)

// fewChores are as many as whoever finds something to do does itself.
const fewChores = 64

// chores are done in the order in which they were added, one at a time. They are added under a session's lock and
// done outside it, because a session may be a receiver. Whoever finds nobody at work does a few, which is
// all there mostly is. The rest, when a network fails, is left to a goroutine that ends when nothing is left: no
// loop works for all.
type chores[T any] struct {
	do func(*T) // a bounded piece of work; called without locks

	// Safe from any goroutine.
	rest sync.WaitGroup

	// Guarded by mu, under which nothing else is locked.
	mu      sync.Mutex
	list    []T
	running bool // somebody is at work
}

// add may be called with a session locked.
func (c *chores[T]) add(all ...T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, all...)
}

// run does what was added, unless somebody does. No lock may be held.
func (c *chores[T]) run() {
	if c.begin() && !c.doSome() {
		c.rest.Go(func() {
			for !c.doSome() {
				runtime.Gosched()
			}
		})
	}
}

// begin makes the caller the one at work, if there is something to do and nobody does it.
func (c *chores[T]) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running || len(c.list) == 0 {
		return false
	}
	c.running = true
	return true
}

// doSome does a few and reports whether none is left. Then somebody else may begin.
func (c *chores[T]) doSome() (done bool) {
	for did := 0; !done && did < fewChores; {
		some := c.take(fewChores - did)
		for i := range some {
			c.do(&some[i])
		}
		did += len(some)
		done = c.did(some)
	}
	return done
}

// take takes out the first n, or as many as there are.
func (c *chores[T]) take(n int) []T {
	c.mu.Lock()
	defer c.mu.Unlock()
	some := c.list[:min(len(c.list), n)]
	c.list = c.list[len(some):]
	return some
}

// did notes what was done, and reports whether none is left.
func (c *chores[T]) did(some []T) bool {
	clear(some)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.list) > 0 {
		return false
	}
	if c.list, c.running = nil, false; cap(some) <= fewChores {
		c.list = some[:0] // for the next ones
	}
	return true
}

// wait returns when nobody does any more what was added before.
func (c *chores[T]) wait() { c.rest.Wait() }
