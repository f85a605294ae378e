package auth

import (
	"errors"
	"sync"
	"time"
)

// ErrNothingShown says that devices present no credentials, so that there is nothing to revoke.
var ErrNothingShown = errors.New("devices are not asked for credentials")

// ErrRevocationsFull says that the node remembers as many revocations as it may.
var ErrRevocationsFull = errors.New("too many revocations are in force")

// Bearer is the subject of a revocation: a device, or everyone who presents the credential with an
// ID. One of both is set, because a device's id may equal the ID of another's credential.
type Bearer struct{ Device, Credential string }

// Revocations remembers devices and credential IDs that are no longer accepted, each until a
// time. It forgets none earlier. Safe from any goroutine.
type Revocations struct {
	// Static after construction.
	most int
	now  func() time.Time

	// Guarded by mu.
	mu    sync.RWMutex
	until map[Bearer]time.Time
}

// NewRevocations returns Revocations that remember up to most entries.
func NewRevocations(most int, now func() time.Time) *Revocations {
	return &Revocations{most: most, now: now, until: make(map[Bearer]time.Time)}
}

// Revoke refuses a bearer until a time; a later call replaces an earlier one, and a time that has passed
// lifts the revocation. It returns ErrRevocationsFull when there is no room.
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

// sweep forgets the revocations whose time has passed.
func (r *Revocations) sweep() {
	now := r.now()
	for b, until := range r.until {
		if !until.After(now) {
			delete(r.until, b)
		}
	}
}
