package gateway

import (
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/wire"
)

// bearer is a connection that a credential let in.
type bearer interface {
	bears(device string, credential uint64) bool
	Close(why *wire.Close)
}

// Revoke refuses a device, or the credential with this ID, until a time, and closes their
// connections now. A time that has passed lifts an earlier revocation. It returns how many
// connections are closed; an error is auth.ErrNothingShown
// or auth.ErrRevocationsFull.
func (g *Gateway) Revoke(deviceOrID string, until time.Time) (closed int, err error) {
	if g.admission.chain == nil {
		return 0, auth.ErrNothingShown
	}
	if err := g.admission.chain.Revoke(deviceOrID, until); err != nil || !until.After(time.Now()) {
		return 0, err
	}
	var n atomic.Int64
	id := idOf(deviceOrID)
	g.group.Each(func(l *reactor.Loop) {
		l.Handlers(func(h reactor.Handler) bool {
			if b, ok := h.(bearer); ok && b.bears(deviceOrID, id) {
				b.Close(wire.CloseRevoked)
				n.Add(1)
			}
			return true
		})
	})
	return int(n.Load()), nil
}
