package pump

import (
	"sync"
	"time"
)

// Patience makes Misconfigured of errors that last. What looks like a wrong configuration may hold for a moment: a server is replaced, or a
// password changes on one side first. The zero value is ready. Its methods are safe from any goroutine.
type Patience struct {
	mu    sync.Mutex
	since time.Time // of the first such error; zero: something else came last
}

// patience is how long only such errors may come until the sink stops.
const patience = time.Minute

// Misconfigured returns err, of the kind later, or as Misconfigured if only such errors have come for a minute. Who resumes the sink then has
// another minute.
func (p *Patience) Misconfigured(err error, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() {
		p.since = now
	}
	if now.Sub(p.since) < patience {
		return err
	}
	p.since = time.Time{}
	return Misconfigured(err)
}

// Renew notes that something else came.
func (p *Patience) Renew() {
	p.mu.Lock()
	p.since = time.Time{}
	p.mu.Unlock()
}
