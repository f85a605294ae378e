package ws

import (
	"errors"
	"strings"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/wire"
)

// Codes of refused refreshes. They are part of the protocol with devices.
const (
	codeBusy         = "busy"
	codeUnauthorized = "unauthorized"
	codeUnavailable  = "unavailable"
)

// refresh verifies the token of a refresh packet, which is borrowed, one at a time. After a refusal the old credential
// remains valid until it expires.
func (d *Device) refresh(p *wire.Packet) {
	answer := wire.Packet{Op: wire.Ack, Of: wire.Refresh, ID: p.ID}
	shown := &auth.Credentials{
		Device:   d.Link().Session().Device(),
		Bearer:   strings.Clone(p.Token),
		Remote:   d.Transport().RemoteAddr().Addr().Unmap(),
		Protocol: d.Protocol(),
	}
	d.Refresh(shown, func(err error) {
		if err == nil {
			answer.Lifetime = d.Lifetime()
		} else {
			answer.Err = denial(err)
		}
		d.Answer(&answer)
	})
}

// denial returns what the device is told about err.
func denial(err error) wire.Error {
	var refused *auth.Refusal
	switch {
	case errors.Is(err, door.ErrRefreshing):
		return wire.Error{Code: codeBusy, Reason: err.Error()}
	case errors.As(err, &refused):
		return wire.Error{Code: codeUnauthorized, Reason: refused.Reason}
	}
	return wire.Error{Code: codeUnavailable, Reason: "the token cannot be verified at the moment"}
}
