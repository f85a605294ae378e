package mqtt

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/mqtt"
)

// ending is why an MQTT connection ends: the rule, for metrics and the WebSocket close frame, and the reason code for
// the device.
type ending struct {
	*wire.Close
	code mqtt.Code
}

func (e *ending) Unwrap() error { return e.Close }

// Errors that depend on the state of the connection.
var (
	errTextFrame    = wire.CloseKind.Because("MQTT packets come in binary frames")
	errNoAuth       = &ending{wire.CloseContract.Because("AUTH without an authentication method in CONNECT"), mqtt.ProtocolError} // MQTT 5 §4.12
	errAliasRange   = &ending{wire.CloseContract.Because("the topic alias is above the Topic Alias Maximum"), mqtt.TopicAliasInvalid}
	errAliasUnknown = &ending{wire.CloseContract.Because("the topic alias has no topic yet"), mqtt.ProtocolError}
	errExpiryRaised = &ending{wire.CloseContract.Because("Session Expiry Interval cannot be raised from 0"), mqtt.ProtocolError}
	errStuck        = wire.CloseSlowConsumer.Because("your acknowledgements are stuck behind publications that cannot be delivered")
	errUntold       = &ending{wire.CloseInternal.Because("a publication cannot be accepted now, and this version of MQTT has no answer that says so"), mqtt.UnspecifiedError}
)

// reasonCodes are the reason codes of DISCONNECT for the rules, by label, MQTT 5 §3.14.2.1. Other rules are protocol
// errors.
var reasonCodes = map[string]mqtt.Code{
	wire.CloseNormal.Label:       mqtt.Success,
	wire.CloseGoingAway.Label:    mqtt.ServerShuttingDown,
	wire.CloseRestart.Label:      mqtt.ServerShuttingDown,
	wire.CloseMoved.Label:        mqtt.UseAnotherServer,
	wire.CloseInvalidUTF8.Label:  mqtt.MalformedPacket,
	wire.CloseMalformed.Label:    mqtt.MalformedPacket,
	wire.CloseReceiveMax.Label:   mqtt.ReceiveMaximumExceeded,
	wire.CloseInternal.Label:     mqtt.UnspecifiedError,
	wire.CloseTakenOver.Label:    mqtt.SessionTakenOver,
	wire.CloseHeartbeat.Label:    mqtt.KeepAliveTimeout,
	wire.CloseUnauthorized.Label: mqtt.NotAuthorized,
	wire.CloseTokenExpired.Label: mqtt.NotAuthorized,
	wire.CloseRevoked.Label:      mqtt.NotAuthorized,
	wire.CloseKicked.Label:       mqtt.AdministrativeAction,
	wire.CloseRate.Label:         mqtt.MessageRateTooHigh,
	wire.CloseSlowConsumer.Label: mqtt.QuotaExceeded,
	wire.CloseAckTimeout.Label:   mqtt.QuotaExceeded,
	wire.CloseSlowMessage.Label:  mqtt.KeepAliveTimeout,
}

// endOf returns the ending for an error.
func endOf(err error) *ending {
	var end *ending
	var broken *mqtt.Error
	switch {
	case errors.As(err, &end):
		return end
	case errors.As(err, &broken):
		return &ending{ruleOf(broken).Because(broken.Reason), broken.Code}
	}
	why := door.CloseOf(err)
	code, known := reasonCodes[why.Label]
	if !known {
		code = mqtt.ProtocolError
	}
	return &ending{why, code}
}

// refusalOf returns the answer to a CONNECT that is refused.
func (c *Device) refusalOf(why error) *ending {
	var no *door.Denied
	var refused *auth.Refusal
	var bad *topic.Error
	switch {
	case errors.As(why, &no):
		return denied(no)
	case errors.As(why, &refused) && c.rare.opening.credentials.HasBasic:
		return &ending{wire.CloseUnauthorized.Because(refused.Reason), mqtt.BadUsernameOrPassword}
	case errors.As(why, &refused):
		return &ending{wire.CloseUnauthorized.Because(refused.Reason), mqtt.NotAuthorized}
	case errors.Is(why, auth.ErrUnavailable):
		return &ending{wire.CloseUnauthorized.Because("the credentials cannot be verified at the moment"), mqtt.ServerUnavailable}
	case errors.Is(why, door.ErrDraining):
		return c.shard.server.draining()
	case errors.Is(why, session.ErrTakenOver):
		return &ending{wire.CloseTakenOver, mqtt.ServerBusy} // CONNACK has no code of its own for it
	case errors.Is(why, door.ErrTooSlow):
		return &ending{wire.CloseHeartbeat.Because("CONNECT took too long"), mqtt.ServerUnavailable}
	case errors.Is(why, session.ErrWillNotAllowed):
		return &ending{wire.CloseUnauthorized.Because(why.Error()), mqtt.NotAuthorized}
	case errors.As(why, &bad):
		return &ending{wire.CloseContract.Because(why.Error()), mqtt.TopicNameInvalid}
	case door.NoRoom(why):
		return &ending{wire.CloseInternal.Because("no room for the device: " + why.Error()), mqtt.QuotaExceeded}
	}
	return endOf(why)
}

// denied returns the answer to a CONNECT that a limit refuses. 3.1.1 has one code for all.
func denied(no *door.Denied) *ending {
	return &ending{wire.CloseBusy.Because(fmt.Sprintf("%s; retry after %ss", no.Error(), no.RetryAfter())), denials[no.Kind]}
}

var denials = [...]mqtt.Code{
	door.NodeFull: mqtt.QuotaExceeded,
	door.Quota:    mqtt.QuotaExceeded,
	door.Rate:     mqtt.ConnectionRateExceeded,
	door.Busy:     mqtt.ServerBusy,
}

// ruleOf returns the gateway's rule for a rule of MQTT.
func ruleOf(e *mqtt.Error) *wire.Close {
	switch e.Code {
	case mqtt.MalformedPacket:
		return wire.CloseMalformed
	case mqtt.PacketTooLarge:
		return door.CloseOf(websocket.ErrMessageTooBig)
	}
	return wire.CloseContract
}

// Fail implements door.Handler: it ends the connection. Before CONNACK it sends a CONNACK that refuses; later, in MQTT
// 5, a DISCONNECT; both say why. 3.1.1 has no packet for it [3.1.1 MQTT-4.8.0-1].
func (c *Device) Fail(why error) {
	switch c.Phase() {
	case door.Ended:
	case door.Attached:
		end := endOf(why)
		if c.version == mqtt.V5 { // [MQTT-4.13.1-1]
			c.sendDisconnect(end)
		}
		c.finish(end.Close)
	default:
		c.refuseConnect(c.refusalOf(why))
	}
}

// sendDisconnect tells a device of MQTT 5 why the connection ends. It names the server to which the device should connect; if the gateway
// restarts, that is the configured one.
func (c *Device) sendDisconnect(end *ending) {
	p := mqtt.Packet{Type: mqtt.Disconnect, Reason: end.code}
	p.Properties.ReasonString = end.Reason
	server := end.Server
	if errors.Is(end.Close, wire.CloseRestart) {
		server = c.shard.server.Config.ServerReference
	}
	if server != "" {
		p.Reason, p.Properties.ServerReference = mqtt.UseAnotherServer, server
	}
	_ = c.write(&p) // not sent if it is too large for the client
}

// finish ends the connection once everything pending is sent.
func (c *Device) finish(why *wire.Close) {
	c.Left(why)
	c.carrier.end(why)
}

// Left implements ws.Application: the connection has ended, or is about to.
func (c *Device) Left(why *wire.Close) {
	if c.Detach(why) != door.Ended {
		c.rare = nil
	}
}

// refuseConnect answers a CONNECT that is refused, and ends the connection [MQTT-3.2.2-7].
func (c *Device) refuseConnect(end *ending) {
	c.CountRefused(strings.ReplaceAll(end.code.String(), " ", "_"), end.Reason)
	if c.answersRefused(end.code) {
		p := mqtt.Packet{Type: mqtt.Connack, Reason: end.code}
		p.Properties.ReasonString = end.Reason
		if end.code == mqtt.UseAnotherServer {
			p.Properties.ServerReference = c.shard.server.Config.ServerReference
		}
		_ = c.write(&p)
	}
	c.finish(end.Close)
}

// answersRefused reports whether a refusal is sent in a CONNACK. A client that has not begun a CONNECT gets none; in
// 3.1.1, neither does one that sends a wrong CONNECT [3.1.1 MQTT-3.1.4-1].
func (c *Device) answersRefused(code mqtt.Code) bool {
	switch code {
	case mqtt.MalformedPacket, mqtt.ProtocolError, mqtt.TopicNameInvalid, mqtt.PacketTooLarge:
		return c.version == mqtt.V5
	}
	return c.version != 0
}

// disconnect handles DISCONNECT, MQTT 5 §3.14, 3.1.1 §3.14. If its reason is Success, the will is not published
// [MQTT-3.1.2-10] [MQTT-3.14.4-3].
func (c *Device) disconnect(p *mqtt.Packet) error {
	if p.Properties.Has(mqtt.PropSessionExpiry) && !c.Link().SetExpiry(seconds(p.Properties.SessionExpiry)) { // [MQTT-3.14.2-2]
		return errExpiryRaised
	}
	if p.Reason == mqtt.Success {
		c.Link().ForgetWill()
	}
	c.Left(door.ErrPeerClosed)
	c.carrier.end(wire.CloseNormal)
	return nil
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }
