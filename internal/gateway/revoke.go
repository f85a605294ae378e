package gateway

import (
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/wire"
)

// Revoke refuses a device, or the credential with this ID, until a time, and closes its connections now. A time in the
// past undoes an earlier revocation. Revoke returns how many connections it closes; an error is auth.ErrNothingShown
// or auth.ErrRevocationsFull.
func (g *Gateway) Revoke(b auth.Bearer, until time.Time) (closed int, err error) {
	if g.config.Auth == nil {
		return 0, auth.ErrNothingShown
	}
	if err := g.config.Auth.Revoke(b, until); err != nil || !until.After(time.Now()) {
		return 0, err
	}
	id := door.IDOf(b.Credential)
	return g.closeWhere(func(device string, credential uint64) bool {
		return b.Device != "" && device == b.Device || id != 0 && credential == id
	}), nil
}

// withdrawn closes the connections of credentials that are in no file any more. It does so again after the handshake
// timeout, for those whose verification with the old file was still running.
func (g *Gateway) withdrawn(ids []string) {
	if len(ids) == 0 {
		return
	}
	gone := make(map[uint64]bool, len(ids))
	for _, id := range ids {
		gone[door.IDOf(id)] = true
	}
	sweep := func() { g.closeWhere(func(_ string, credential uint64) bool { return gone[credential] }) }
	sweep()
	time.AfterFunc(g.config.HandshakeTimeout, func() {
		if !g.closed.Load() {
			sweep()
		}
	})
}

// closeWhere closes the connections for whose device and credential match returns true, and returns their number.
func (g *Gateway) closeWhere(match func(device string, credential uint64) bool) int {
	var n atomic.Int64
	g.group.Each(func(l *reactor.Loop) {
		door.Handlers(l, func(h door.Handler) bool {
			if device, credential, ok := h.Base().Bearer(); ok && match(device, credential) {
				h.Close(wire.CloseRevoked)
				n.Add(1)
			}
			return true
		})
	})
	return int(n.Load())
}
