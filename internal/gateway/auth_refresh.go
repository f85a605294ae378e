package gateway

import (
	"errors"
	"strings"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/wire"
)

// Codes with which a refresh is refused, part of the contract with devices.
const (
	codeBusy         = "busy"
	codeUnauthorized = "unauthorized"
	codeUnavailable  = "unavailable"
)

// refresh has the token of a refresh packet, which is borrowed, verified: one at a time.
func (d *device) refresh(p *wire.Packet) {
	answer := wire.Packet{Op: wire.Ack, Of: wire.Refresh, ID: p.ID}
	switch c := credentialOf(&d.link); {
	case c == nil: // nothing expires
		d.Answer(&answer)
	case c.refreshing:
		answer.Err = wire.Error{Code: codeBusy, Reason: "the refresh before is not answered yet"}
		d.Answer(&answer)
	default:
		c.refreshing = true
		shown := &auth.Credentials{
			Device:   d.link.Session().Device(),
			Bearer:   strings.Clone(p.Token),
			Remote:   d.conn.RemoteAddr().Addr().Unmap(),
			Protocol: d.protocol.codec.Name(),
		}
		d.shard.gateway.admission.verify(d.conn, shown, func(i *auth.Identity, err error) {
			d.refreshed(&answer, i, err)
		})
	}
}

// refreshed takes the new credential in place of the one that there was, and answers. A
// refusal leaves the old one for as long as it lasts.
func (d *device) refreshed(answer *wire.Packet, i *auth.Identity, err error) {
	if d.state != open {
		return
	}
	c := credentialOf(&d.link)
	c.refreshing = false
	if err != nil {
		answer.Err = denial(err)
	} else {
		*c = *newCredential(i, c.raw) // in place: the session's permissions
		d.link.Permit()
		answer.Lifetime = c.lifetime()
	}
	d.Answer(answer)
	if d.state == open && !d.stillHeld() { // the alarm may be too late, or too soon
		d.beat()
	}
}

// denial is what the device is told about err.
func denial(err error) wire.Error {
	var refused *auth.Refusal
	if errors.As(err, &refused) {
		return wire.Error{Code: codeUnauthorized, Reason: refused.Reason}
	}
	return wire.Error{Code: codeUnavailable, Reason: "the token cannot be verified at the moment"}
}
