// Package auth answers who a device is and what it may do. It knows nothing of connections:
// it is given credentials and returns an identity or a refusal.
//
// The flow: Open makes a Chain of the verifiers that the configuration names, in its order.
// Chain.Verify asks one after the other. A verifier that knows nothing of such a credential
// returns ErrNotMine, and the next is asked; any other answer is final. What a verifier
// accepts is then held against the device id that was claimed and against what was revoked.
// Verifying may block: it belongs on bounded workers, not on loops, but for Chain.VerifyNow.
package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"net/netip"
	"time"
)

// Credentials are what a device shows when it connects. Any field may be empty.
type Credentials struct {
	Device       string // the id that it claims, such as in the URL
	Bearer       string // a token
	Username     string // of HTTP Basic, RFC 7617
	Password     string
	HasBasic     bool
	Certificates []*x509.Certificate // the chain that TLS has verified, the device's own first
	Remote       netip.Addr
	Protocol     string // the subprotocol
}

// none tells that nothing was shown.
func (c *Credentials) none() bool {
	return c.Bearer == "" && !c.HasBasic && len(c.Certificates) == 0
}

// Identity is who a device has proved to be.
type Identity struct {
	Device      string
	Subject     string       // whom the credential names, for logs; may be empty
	ID          string       // to revoke the credential by: a JWT's jti, sha256:..., serial:...; may be empty
	Method      string       // the verifier, for logs and metrics: one of Methods
	Expires     time.Time    // when the credential is no longer accepted; zero is never
	Permissions *Permissions // never nil in what a Chain returns
}

// MayPublish tells whether the device may publish to a valid topic name.
func (i *Identity) MayPublish(name string) bool { return i.Permissions.MayPublish(i.Device, name) }

// MaySubscribe tells whether the device may subscribe to a valid filter.
func (i *Identity) MaySubscribe(filter string) bool {
	return i.Permissions.MaySubscribe(i.Device, filter)
}

// Verifier knows one kind of credential. Verify is safe from any goroutine and leaves Method
// empty, and Permissions nil for the configured ones. The identity is not changed after.
// An error is ErrNotMine, a *Refusal or an ErrUnavailable.
type Verifier interface {
	Verify(ctx context.Context, c *Credentials) (*Identity, error)
}

// ErrNotMine says that a verifier knows nothing of such credentials.
var ErrNotMine = errors.New("no credential of this kind")

// ErrUnavailable says that nobody can tell at the moment (HTTP 503): what is asked about
// credentials is down, and what cannot be verified is not let in.
var ErrUnavailable = errors.New("credentials cannot be verified at the moment")

// Refusal says that a credential is not accepted (HTTP 401), and why, without its secrets.
type Refusal struct {
	Reason    string
	Forbidden bool // the credential is good, but not for the device that was claimed (HTTP 403)
}

func (r *Refusal) Error() string { return "refused: " + r.Reason }

func refuse(reason string) error { return &Refusal{Reason: reason} }

// errOtherDevice refuses a good credential that is shown for another device.
var errOtherDevice = &Refusal{Reason: "the credential is of another device", Forbidden: true}
