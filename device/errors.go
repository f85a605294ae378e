package device

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/longline/longline/internal/wire"
)

var (
	// ErrClosed is returned after Close, and after the device has given up: it then wraps
	// the reason as well.
	ErrClosed = errors.New("device: closed")
	// ErrBufferFull refuses a publication: the outbox is at its bound, because the gateway
	// is away or slow. Nothing that was in it has been dropped.
	ErrBufferFull = errors.New("device: the outbox is full")
	// ErrTooLarge refuses what is larger, encoded, than the gateway's max_payload.
	ErrTooLarge = errors.New("device: larger than the gateway's max_payload")
	// ErrExpired ends a publication that waited in the outbox for longer than its Expiry.
	ErrExpired = errors.New("device: the message expired before the gateway took it")
	// ErrNotAwaited is returned inside of a Handler, to calls with its ctx, when the messages
	// that wait for the handler stand before the gateway's answer: to await that would be
	// to wait for oneself.
	ErrNotAwaited = errors.New("device: not awaited: the answer is behind messages that wait for this handler")
	// ErrSilent is why a connection ended over which nothing came, not even a pong.
	ErrSilent = errors.New("device: nothing was heard from the gateway in time")
)

// RefusedError is the gateway's refusal of a publication or subscription; as the error of a
// CallHandler it refuses the call. Code is for programs, Reason for people.
type RefusedError struct{ Code, Reason string }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("device: refused: %s: %s", e.Code, e.Reason)
}

// StatusError is what the gateway said when it refused or ended a connection.
type StatusError struct {
	Code       int // HTTP status of a refused upgrade (below 1000), or WebSocket close code
	Reason     string
	RetryAfter time.Duration // the delay that the gateway asked for; 0 is none
}

func (e *StatusError) Error() string {
	if e.Code < 1000 {
		return fmt.Sprintf("device: connection refused with HTTP status %d %s: %s", e.Code, http.StatusText(e.Code), e.Reason)
	}
	return fmt.Sprintf("device: connection closed by the gateway: %d %s", e.Code, e.Reason)
}

// refusal turns the error field of an ack into a Go error; nil when nothing was wrong.
func refusal(e wire.Error) error {
	if e.Code == "" {
		return nil
	}
	return &RefusedError{e.Code, e.Reason}
}

// offence returns err if the gateway ended the connection over a publication: one that breaks
// a rule, which the reason begins with, or is larger than a max_payload that has shrunk.
func offence(err error) error {
	var s *StatusError
	if errors.As(err, &s) && (s.Code == int(websocket.StatusMessageTooBig) ||
		s.Code == int(wire.CloseContract.Code) && strings.HasPrefix(s.Reason, wire.Pub.String()+":")) {
		return err
	}
	return nil
}

// permanent tells whether a first attempt failed in a way that waiting does not mend: the
// credential, the address or the certificate is wrong.
func permanent(err error) bool {
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		return true
	}
	var s *StatusError
	if !errors.As(err, &s) {
		return false
	}
	switch s.Code {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
		int(wire.CloseUnauthorized.Code), int(wire.CloseRevoked.Code):
		return true
	}
	return false
}

// final tells whether the gateway ended the connection for good: as wanted, or because the
// device has a newer one, which to come back would end in turn.
func final(err error) bool {
	var s *StatusError
	return errors.As(err, &s) &&
		(s.Code == int(wire.CloseNormal.Code) || s.Code == int(wire.CloseTakenOver.Code))
}
