// Package auth answers who a device is and what it may do. It knows nothing of connections:
// it is given credentials and returns an identity or a refusal.
//
// The flow: Open makes a Chain of the verifiers that the configuration names, in its order.
// Chain.Verify asks one after the other. A verifier that does not know this kind of credential
// returns ErrNotMine, and the chain asks the next; any other answer is final. The chain then checks
// an accepted identity against the device id that the client claimed and against the revocations.
// Verify may block: call it from bounded workers, not from loops. Only Chain.VerifyNow is for loops.
package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"net/netip"
	"time"
)

// Credentials are what a device presents when it connects. Any field may be empty.
type Credentials struct {
	Device       string // the id that it claims, such as the one in the URL
	Bearer       string // a token
	Username     string // of HTTP Basic, RFC 7617
	Password     string
	HasBasic     bool
	Certificates []*x509.Certificate // the chain that TLS verified, the device's own first
	Remote       netip.Addr
	Protocol     string // the subprotocol
}

// none reports whether the device presented no credential.
func (c *Credentials) none() bool {
	return c.Bearer == "" && !c.HasBasic && len(c.Certificates) == 0
}

// Identity is a device's verified identity.
type Identity struct {
	Device      string
	Subject     string       // the credential's subject, for logs; may be empty
	ID          string       // the credential's ID, for revocation: a JWT's jti, sha256:..., serial:...; may be empty
	Method      string       // the verifier, for logs and metrics: one of Methods
	Expires     time.Time    // when the credential stops being accepted; zero means never
	Permissions *Permissions // never nil in what a Chain returns
}

// MayPublish reports whether the device may publish to a valid topic name.
func (i *Identity) MayPublish(name string) bool { return i.Permissions.MayPublish(i.Device, name) }

// MaySubscribe reports whether the device may subscribe to a valid filter.
func (i *Identity) MaySubscribe(filter string) bool {
	return i.Permissions.MaySubscribe(i.Device, filter)
}

// Verifier verifies one kind of credential. Verify is safe from any goroutine. It leaves Method
// empty, and Permissions nil where the configured ones apply. Nobody changes the identity after that.
// An error is ErrNotMine, a *Refusal or an ErrUnavailable.
type Verifier interface {
	Verify(ctx context.Context, c *Credentials) (*Identity, error)
}

// ErrNotMine says that a verifier does not know this kind of credential.
var ErrNotMine = errors.New("no credential of this kind")

// ErrUnavailable says that a credential cannot be verified at the moment (HTTP 503), because the system that
// knows it is down. The device is not admitted.
var ErrUnavailable = errors.New("credentials cannot be verified at the moment")

// Refusal says that a credential is not accepted (HTTP 401), and why. The reason contains no secret.
type Refusal struct {
	Reason    string
	Forbidden bool // the credential is valid, but not for the device that the client claimed (HTTP 403)
}

func (r *Refusal) Error() string { return "refused: " + r.Reason }

func refuse(reason string) error { return &Refusal{Reason: reason} }

// errOtherDevice refuses a valid credential that belongs to another device.
var errOtherDevice = &Refusal{Reason: "the credential belongs to another device", Forbidden: true}
