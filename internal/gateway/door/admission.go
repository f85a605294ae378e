package door

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/reactor"
)

// admission authenticates devices: on workers, unless a verification takes microseconds.
type admission struct {
	// Static after construction.
	chain    *auth.Chain // nil refuses every device
	insecure bool        // accept any device ID without credentials
	timeout  time.Duration
	workers  *reactor.Workers // nil without a chain
	closing  context.Context  // canceled by close
	stop     func()           // cancels closing
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

// close cancels the verifications and waits for them.
func (a *admission) close() {
	a.stop()
	if a.workers != nil {
		a.workers.Close()
	}
}

var (
	errNoWay   = &auth.Refusal{Reason: "no method to authenticate devices is configured; for a trial on loopback, start the gateway with --insecure"}
	errUnnamed = &auth.Refusal{Reason: "the request names no device"}
	errBusy    = fmt.Errorf("%w: too many devices connect at the same time", auth.ErrUnavailable)
	errRevoked = &auth.Refusal{Reason: "the credential is revoked"}
)

// verify authenticates a device by its credentials, which it keeps. It calls done on conn's loop: before verify
// returns if it need not wait, otherwise later, and never if the connection closes before. An error is an
// *auth.Refusal or an auth.ErrUnavailable. Only with insecure are the identity's Permissions nil, which allows all.
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

// proves reports whether it is certain without waiting that credentials belong to the device that they name.
func (a *admission) proves(c *auth.Credentials) bool {
	return a.insecure || a.chain != nil && a.chain.Proves(c)
}

// ask makes a worker ask the chain. If no worker is free within the timeout, the device is refused.
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
				done(a.refuseRevoked(identity, err))
			}
		}))
	})
	if !taken {
		cancel()
		done(nil, errBusy)
	}
}

// refuseRevoked refuses an identity that was revoked during its verification: Gateway.Revoke did not find its
// connection, which was not attached yet.
func (a *admission) refuseRevoked(i *auth.Identity, err error) (*auth.Identity, error) {
	if err == nil {
		err = a.revoked(i)
	}
	return i, err
}

// revoked is errRevoked for a credential that was revoked since it was verified.
func (a *admission) revoked(i *auth.Identity) error {
	if a.chain != nil && a.chain.Revoked(i) {
		return errRevoked
	}
	return nil
}
