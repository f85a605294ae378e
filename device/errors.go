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
	// ErrClosed is returned after Close, and after the device has given up. It then also wraps
	// the reason.
	ErrClosed = errors.New("device: closed")
	// ErrBufferFull refuses a publication because the outbox is full: the gateway
	// is unreachable or slow. The outbox keeps everything that is in it.
	ErrBufferFull = errors.New("device: the outbox is full")
	// ErrTooLarge refuses a packet that is larger, when encoded, than the gateway's max_payload.
	ErrTooLarge = errors.New("device: larger than the gateway's max_payload")
	// ErrExpired is the outcome of a publication that waited in the outbox for longer than its Expiry.
	ErrExpired = errors.New("device: the message expired before the gateway took it")
	// ErrNotAwaited is returned to a Handler that publishes, subscribes or calls with its ctx, if the gateway's answer is behind
	// messages that wait for the same handler. To wait for the answer would be a
	// deadlock. The publication, subscription or call is still sent.
	ErrNotAwaited = errors.New("device: cannot wait for the answer: it is behind messages that wait for this handler")
	// ErrSilent is why a connection ended on which nothing arrived in time, not even a pong.
	ErrSilent = errors.New("device: the gateway was silent for too long")
)

// RefusedError says that the gateway refused a publication or subscription, or that a Call has no answer. A
// CallHandler that returns one refuses the call. Code is for programs, Reason for people.
type RefusedError struct{ Code, Reason string }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("device: refused: %s: %s", e.Code, e.Reason)
}

// StatusError says that the gateway refused or closed a connection, and why.
type StatusError struct {
	Code       int // HTTP status of a refused upgrade (below 1000), or WebSocket close code
	Reason     string
	RetryAfter time.Duration // the delay that the gateway asked for; 0 means none
}

func (e *StatusError) Error() string {
	if e.Code < 1000 {
		return fmt.Sprintf("device: connection refused with HTTP status %d %s: %s", e.Code, http.StatusText(e.Code), e.Reason)
	}
	return fmt.Sprintf("device: connection closed by the gateway: %d %s", e.Code, e.Reason)
}

// refusal returns the error field of an ack as a Go error, or nil if there is none.
func refusal(e wire.Error) error {
	if e.Code == "" {
		return nil
	}
	return &RefusedError{e.Code, e.Reason}
}

// offence returns err if the gateway closed the connection because of a publication, and nil otherwise. The publication broke a
// rule, which the reason begins with, or was larger than a max_payload that has become smaller.
func offence(err error) error {
	var s *StatusError
	if errors.As(err, &s) && (s.Code == int(websocket.StatusMessageTooBig) ||
		s.Code == int(wire.CloseContract.Code) && strings.HasPrefix(s.Reason, wire.Pub.String()+":")) {
		return err
	}
	return nil
}

// permanent reports whether waiting would not help after a failed first attempt: the
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

// final reports whether the device must not reconnect: the connection ended as intended, or the
// device has a newer one, which a reconnection would end.
func final(err error) bool {
	var s *StatusError
	return errors.As(err, &s) &&
		(s.Code == int(wire.CloseNormal.Code) || s.Code == int(wire.CloseTakenOver.Code))
}
