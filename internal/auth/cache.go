package auth

import (
	"sync"
	"time"
)

// cache remembers identities by the digest of the question, in two generations: when the
// young one is full it becomes the old one, and entries that nobody asked for since are forgotten.
// Safe from any goroutine.
type cache struct {
	// Static after construction.
	most int // entries per generation
	now  func() time.Time

	// Guarded by mu.
	mu         sync.Mutex
	young, old map[digest]entry
}

type entry struct {
	identity *Identity
	until    time.Time
}

// newCache returns a cache of up to size identities.
func newCache(size int, now func() time.Time) *cache {
	return &cache{most: max(1, size/2), now: now, young: make(map[digest]entry)}
}

func (c *cache) get(key digest) (*Identity, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.young[key]
	if !ok {
		if e, ok = c.old[key]; ok {
			c.add(key, e)
		}
	}
	return e.identity, ok && c.now().Before(e.until)
}

// put remembers i for ttl, or until i expires if that is earlier.
func (c *cache) put(key digest, i *Identity, ttl time.Duration) {
	until := c.now().Add(ttl)
	if !i.Expires.IsZero() && i.Expires.Before(until) {
		until = i.Expires
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(key, entry{i, until})
}

func (c *cache) add(key digest, e entry) {
	if _, there := c.young[key]; !there && len(c.young) >= c.most {
		c.old, c.young = c.young, make(map[digest]entry)
	}
	c.young[key] = e
}
