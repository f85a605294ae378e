package device

import (
	"context"
	"time"

	"github.com/longline/longline/internal/wire"
)

// renew sends the gateway a new token each time before the current one expires. If that
// fails, it tries again until the gateway ends the link.
func (d *Device) renew(l *link) {
	for {
		lifetime := time.Duration(l.lifetime.Load())
		if lifetime <= 0 {
			return
		}
		for wait := lifetime * 4 / 5; ; wait = max(lifetime/20, time.Second) {
			select {
			case <-time.After(wait):
			case <-l.ctx.Done():
				return
			}
			err := d.refresh(l)
			if err == nil {
				break
			}
			l.log.Warn("device: the token was not refreshed", "error", err)
		}
	}
}

// refresh gets a token from the source and sends it to the gateway.
func (d *Device) refresh(l *link) error {
	ctx, cancel := context.WithTimeout(l.ctx, d.opts.ConnectTimeout)
	defer cancel()
	token, err := d.opts.TokenSource(ctx)
	if err != nil {
		return err
	}
	p := &wire.Packet{Op: wire.Refresh, ID: d.lastID.Add(1), Token: token}
	l.renewal.Store(p.ID)
	return d.exchange(ctx, l, p, "refresh")
}
