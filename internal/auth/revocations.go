package auth

import (
	"errors"
	"sync"
	"time"
)

// ErrNothingShown says that devices show no credentials, so that there is nothing to revoke.
var ErrNothingShown = errors.New("devices are not asked for credentials")

// ErrRevocationsFull says that as many revocations are in force as the node remembers.
var ErrRevocationsFull = errors.New("too many revocations are in force")

// Bearer is whose credentials a revocation is about: a device, or all who show the credential with an
// ID. One of both is set: a device may have the name that another's credential has as its ID.
type Bearer struct{ Device, Credential string }

// Revocations remembers devices and credential IDs that are no longer accepted, each until a
// time. It forgets none before. Safe from any goroutine.
type Revocations struct {
	// Static after construction.
	most int
	now  func() time.Time

	// Guarded by mu.
	mu    sync.RWMutex
	until map[Bearer]time.Time
}

// NewRevocations remembers up to most at one time.
func NewRevocations(most int, now func() time.Time) *Revocations {
	return &Revocations{most: most, now: now, until: make(map[Bearer]time.Time)}
}

// Revoke adds a bearer until a time; a second time replaces the first, and one that has passed
// lifts it. It returns ErrRevocationsFull when there is no room.
func (r *Revocations) Revoke(b Bearer, until time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !until.After(r.now()) {
		delete(r.until, b)
		return nil
	}
	if _, there := r.until[b]; !there && len(r.until) >= r.most {
		r.sweep()
		if len(r.until) >= r.most {
			return ErrRevocationsFull
		}
	}
	r.until[b] = until
	return nil
}

// Has reports whether a bearer is revoked.
func (r *Revocations) Has(b Bearer) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	until, ok := r.until[b]
	return ok && until.After(r.now())
}

// sweep forgets those whose time has passed.
func (r *Revocations) sweep() {
	now := r.now()
	for b, until := range r.until {
		if !until.After(now) {
			delete(r.until, b)
		}
	}
}
