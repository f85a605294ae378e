package auth

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/topic"
)

// Chain asks verifiers in order. Open makes one. Safe from any goroutine.
type Chain struct {
	// Static after construction.
	config      Config
	links       []*link
	permissions *Permissions
	revoked     *Revocations
	breakers    []*limit.Breaker
	proven      *proven
	now         func() time.Time
	stop        context.CancelFunc

	// Safe from any goroutine.
	strangers atomic.Uint64 // credentials refused because no verifier knew them
}

// link is one verifier in the chain, with its counters.
type link struct {
	method string
	slow   bool // it takes more than microseconds: it computes or waits
	Verifier

	// Safe from any goroutine.
	accepted, refused, unavailable, guessing atomic.Uint64
}

// Stats counts the answers of one verifier.
type Stats struct {
	Method                         string
	Accepted, Refused, Unavailable uint64
	Guessing                       uint64 // refused unverified, because too many wrong passwords came from the address
}

// Config returns the chain's configuration, with the defaults.
func (c *Chain) Config() Config { return c.config }

// Verify returns the device's identity, with Method and Permissions set. An error is
// a *Refusal or an ErrUnavailable.
func (c *Chain) Verify(ctx context.Context, credentials *Credentials) (*Identity, error) {
	return c.verify(ctx, credentials, true)
}

// VerifyNow is Verify for callers that must not block: it takes microseconds. ErrSlow says that
// the caller has to call Verify.
func (c *Chain) VerifyNow(credentials *Credentials) (*Identity, error) {
	return c.verify(context.Background(), credentials, false)
}

// Proves reports whether it is known at once that the credentials belong to the device that they claim: they
// take microseconds to verify, or were accepted recently. It counts nothing, and serves only to order the
// connections that wait to be verified.
func (c *Chain) Proves(credentials *Credentials) bool {
	l, _, err := c.ask(credentials, func(l *link) (*Identity, error) { return l.now(credentials) })
	if errors.Is(err, ErrSlow) {
		return c.proven.has(credentials)
	}
	return l != nil && err == nil
}

// ErrSlow says that the credentials cannot be verified within microseconds.
var ErrSlow = errors.New("verifying takes time")

func (c *Chain) verify(ctx context.Context, credentials *Credentials, wait bool) (*Identity, error) {
	l, identity, err := c.ask(credentials, func(l *link) (*Identity, error) {
		if !wait {
			return l.now(credentials)
		}
		return l.Verify(ctx, credentials)
	})
	switch {
	case errors.Is(err, ErrSlow): // the caller calls Verify next, which counts
		return nil, err
	case l != nil:
		l.count(err)
		if err == nil && wait && c.config.RememberProven {
			c.proven.add(credentials)
		}
		return identity, err
	}
	c.strangers.Add(1)
	if credentials.none() {
		return nil, refuse("no credential was shown")
	}
	return nil, refuse("the credential is not known")
}

// ask returns the result of verify for the first link that knows this kind of credential, and that link; nil if there is none.
func (c *Chain) ask(credentials *Credentials, verify func(*link) (*Identity, error)) (*link, *Identity, error) {
	for _, l := range c.links {
		known, err := verify(l)
		if errors.Is(err, ErrNotMine) {
			continue
		}
		var identity *Identity
		if err == nil {
			identity, err = c.admit(l.method, known, credentials.Device)
		}
		return l, identity, err
	}
	return nil, nil, nil
}

// admit completes an identity and refuses it if it is not the claimed device, is revoked or has expired.
func (c *Chain) admit(method string, known *Identity, claimed string) (*Identity, error) {
	i := *known
	i.Method = method
	if i.Permissions == nil {
		i.Permissions = c.permissions
	}
	var err error
	if i.Device, err = topic.CanonicalDevice(i.Device); err != nil {
		return nil, refuse("the " + err.Error())
	}
	switch {
	case claimed != "" && claimed != i.Device:
		return nil, errOtherDevice
	case c.Revoked(&i):
		return nil, refuse("the credential is revoked")
	case !i.Expires.IsZero() && !c.now().Before(i.Expires):
		return nil, refuse("the credential has expired")
	}
	return &i, nil
}

// Revoke refuses the identities of b until a time. ErrRevocationsFull says that the node can
// remember no more revocations.
func (c *Chain) Revoke(b Bearer, until time.Time) error { return c.revoked.Revoke(b, until) }

// Revoked reports whether an identity that Verify returned was revoked.
func (c *Chain) Revoked(i *Identity) bool {
	return c.revoked.Has(Bearer{Device: i.Device}) || i.ID != "" && c.revoked.Has(Bearer{Credential: i.ID})
}

// OnWithdrawn makes the chain call f with the IDs of credentials that were removed from a file. Call it
// before the first file changes; f runs on the goroutine that reads files.
func (c *Chain) OnWithdrawn(f func(ids []string)) {
	for _, l := range c.links {
		if w, ok := l.Verifier.(interface{ onWithdrawn(func(ids []string)) }); ok {
			w.onWithdrawn(f)
		}
	}
}

// unclaimed is the method under which Stats counts credentials that no verifier knew.
const unclaimed = "none"

// Stats returns the counts per verifier, in order, and last the count of credentials that were
// refused because no verifier knew them: guessed tokens are among these.
func (c *Chain) Stats() []Stats {
	all := make([]Stats, 0, len(c.links)+1)
	for _, l := range c.links {
		all = append(all, Stats{l.method, l.accepted.Load(), l.refused.Load(), l.unavailable.Load(), l.guessing.Load()})
	}
	return append(all, Stats{Method: unclaimed, Refused: c.strangers.Load()})
}

// Breakers returns the states of the circuit breakers in front of remote services, by name:
// closed, half-open or open.
func (c *Chain) Breakers() map[string]string {
	states := make(map[string]string, len(c.breakers))
	for _, b := range c.breakers {
		states[b.Name()] = b.State()
	}
	return states
}

// Close stops the background work of the verifiers.
func (c *Chain) Close() { c.stop() }

// now is Verify within microseconds; it returns ErrSlow where Verify would take longer.
func (l *link) now(credentials *Credentials) (*Identity, error) {
	if l.slow {
		return nil, ErrSlow
	}
	return l.Verify(context.Background(), credentials)
}

func (l *link) count(err error) {
	var refusal *Refusal
	switch {
	case err == nil:
		l.accepted.Add(1)
	case errors.As(err, &refusal):
		l.refused.Add(1)
	case errors.Is(err, errGuessing):
		l.guessing.Add(1)
	default:
		l.unavailable.Add(1)
	}
}
