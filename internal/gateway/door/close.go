package door

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

// CloseOf returns the rule that err says was broken.
func CloseOf(err error) *wire.Close {
	var c *wire.Close
	if errors.As(err, &c) {
		return c
	}
	var e *websocket.Error
	if errors.As(err, &e) {
		return &wire.Close{Code: e.Code, Label: e.Label, Reason: e.Reason}
	}
	return wire.CloseInternal.Because(err.Error())
}

// ErrPeerClosed is the end of a connection that the device has closed properly.
var ErrPeerClosed = &wire.Close{Label: "peer_closed"}

// EndOf returns how a connection ended without a close frame, for metrics, presence and the log.
func EndOf(err error) *wire.Close {
	end := &wire.Close{Label: endLabel(err)}
	if err != nil {
		end.Reason = err.Error()
	}
	return end
}

func endLabel(err error) string {
	var errno unix.Errno
	switch {
	case errors.Is(err, io.EOF):
		return "peer_gone"
	case errors.Is(err, reactor.ErrClosed):
		return "going_away"
	case errors.Is(err, reactor.ErrHandshake):
		return "tls_handshake"
	case errors.As(err, &errno):
		return "peer_reset"
	}
	return "failed"
}
