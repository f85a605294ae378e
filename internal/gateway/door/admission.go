package door

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/reactor"
)

// admission finds out who devices are: away from the loops, unless that takes no time.
type admission struct {
	// Static after construction.
	chain    *auth.Chain // nil knows no device
	insecure bool        // believe the device id, ask for nothing
	timeout  time.Duration
	workers  *reactor.Workers // nil without a chain
	closing  context.Context  // ends when nobody wants to know any more
	stop     func()           // ends closing
}

func newAdmission(c *Config) *admission {
	a := &admission{chain: c.Auth, insecure: c.Insecure, timeout: c.HandshakeTimeout}
	a.closing, a.stop = context.WithCancel(context.Background())
	if a.chain != nil {
		bounds := a.chain.Config()
		a.workers = reactor.NewWorkers(bounds.Concurrency, bounds.Waiting)
	}
	return a
}

// close ends the verifications that are under way, and waits for them.
func (a *admission) close() {
	a.stop()
	if a.workers != nil {
		a.workers.Close()
	}
}

var (
	errNoWay   = &auth.Refusal{Reason: "no way to authenticate devices is configured; for a trial on loopback, start the gateway with --insecure"}
	errUnnamed = &auth.Refusal{Reason: "the device is not named"}
	errBusy    = fmt.Errorf("%w: too many devices connect at the same time", auth.ErrUnavailable)
	errRevoked = &auth.Refusal{Reason: "the credential is revoked"}
)

// verify finds out who shows credentials, which it keeps. done gets the answer on conn's
// loop: before verify returns when there is nothing to wait for, otherwise later, and never
// when the connection has closed by then. An error is an *auth.Refusal or an
// auth.ErrUnavailable. Permissions are nil, and all is allowed, with insecure alone.
func (a *admission) verify(conn *reactor.Conn, c *auth.Credentials, done func(*auth.Identity, error)) {
	switch {
	case a.insecure && c.Device == "":
		done(nil, errUnnamed)
	case a.insecure:
		done(&auth.Identity{Device: c.Device, Method: "insecure"}, nil)
	case a.chain == nil:
		done(nil, errNoWay)
	default:
		i, err := a.chain.VerifyNow(c)
		if errors.Is(err, auth.ErrSlow) {
			a.ask(conn, c, done)
			return
		}
		done(i, err)
	}
}

// proves reports whether credentials show at once that they are those of the device that they name.
func (a *admission) proves(c *auth.Credentials) bool {
	return a.insecure || a.chain != nil && a.chain.Proves(c)
}

// ask has a worker ask the chain. One that finds no time for it within the timeout does not.
func (a *admission) ask(conn *reactor.Conn, c *auth.Credentials, done func(*auth.Identity, error)) {
	ctx, cancel := context.WithTimeout(a.closing, a.timeout)
	taken := a.workers.Do(func() {
		defer cancel()
		identity, err := (*auth.Identity)(nil), errBusy
		if ctx.Err() == nil {
			identity, err = a.chain.Verify(ctx, c)
		}
		conn.Loop().Post(reactor.TaskFunc(func(*reactor.Loop) {
			if !conn.Closed() {
				done(a.still(identity, err))
			}
		}))
	})
	if !taken {
		cancel()
		done(nil, errBusy)
	}
}

// still refuses what was revoked since it was verified: what was not closed then, because it
// was not there yet.
func (a *admission) still(i *auth.Identity, err error) (*auth.Identity, error) {
	if err == nil && a.chain.Revoked(i) {
		return nil, errRevoked
	}
	return i, err
}
