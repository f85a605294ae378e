package gateway

import (
	"errors"
	"strings"
	"time"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/mqtt"
)

// mqttEnd is why an MQTT connection ends: the rule, for metrics and a WebSocket close frame,
// and the reason code for the device.
type mqttEnd struct {
	*wire.Close
	code mqtt.Code
}

func (e *mqttEnd) Unwrap() error { return e.Close }

// What the connection's state shows to be wrong, and one packet alone does not.
var (
	errTextFrame    = wire.CloseKind.Because("MQTT packets come in binary frames")
	errNoAuth       = &mqttEnd{wire.CloseContract.Because("no authentication was begun"), mqtt.ProtocolError} // MQTT 5 §4.12
	errAliasRange   = &mqttEnd{wire.CloseContract.Because("the topic alias is above the maximum"), mqtt.TopicAliasInvalid}
	errAliasUnknown = &mqttEnd{wire.CloseContract.Because("the topic alias stands for no topic yet"), mqtt.ProtocolError}
	errKeptExpiry   = &mqttEnd{wire.CloseContract.Because("a session that was to end with the connection is to outlive it"), mqtt.ProtocolError}
	errStuck        = wire.CloseSlowConsumer.Because("others wait for acknowledgements that come behind publications that have to wait")
	errUntold       = &mqttEnd{wire.CloseInternal.Because("a publication cannot be taken, and the protocol has no answer that says so"), mqtt.UnspecifiedError}
)

// reasonCodes are what DISCONNECT says for the rules, by label, MQTT 5 §3.14.2.1. What is not
// here is a protocol error.
var reasonCodes = map[string]mqtt.Code{
	wire.CloseNormal.Label:       mqtt.Success,
	wire.CloseGoingAway.Label:    mqtt.ServerShuttingDown,
	wire.CloseRestart.Label:      mqtt.ServerShuttingDown,
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

// mqttEndOf is the end that an error says.
func mqttEndOf(err error) *mqttEnd {
	var end *mqttEnd
	var broken *mqtt.Error
	switch {
	case errors.As(err, &end):
		return end
	case errors.As(err, &broken):
		return &mqttEnd{ruleOf(broken).Because(broken.Reason), broken.Code}
	}
	why := closeOf(err)
	code, known := reasonCodes[why.Label]
	if !known {
		code = mqtt.ProtocolError
	}
	return &mqttEnd{why, code}
}

// refusalOf is how a CONNECT is answered that is not accepted.
func (c *mqttDevice) refusalOf(why error) *mqttEnd {
	var no *denied
	var refused *auth.Refusal
	var bad *topic.Error
	switch {
	case errors.As(why, &no):
		return no.end()
	case errors.As(why, &refused) && c.opening.credentials.HasBasic:
		return &mqttEnd{wire.CloseUnauthorized.Because(refused.Reason), mqtt.BadUsernameOrPassword}
	case errors.As(why, &refused):
		return &mqttEnd{wire.CloseUnauthorized.Because(refused.Reason), mqtt.NotAuthorized}
	case errors.Is(why, auth.ErrUnavailable):
		return &mqttEnd{wire.CloseUnauthorized.Because("who the device is cannot be verified at the moment"), mqtt.ServerUnavailable}
	case errors.Is(why, errDraining):
		return c.shard.gateway.mqttDraining()
	case errors.Is(why, errTooSlow):
		return &mqttEnd{wire.CloseHeartbeat.Because("CONNECT took too long"), mqtt.ServerUnavailable}
	case errors.Is(why, session.ErrWillNotAllowed):
		return &mqttEnd{wire.CloseUnauthorized.Because(why.Error()), mqtt.NotAuthorized}
	case errors.As(why, &bad):
		return &mqttEnd{wire.CloseContract.Because(why.Error()), mqtt.TopicNameInvalid}
	case noRoom(why):
		return &mqttEnd{wire.CloseInternal.Because("no room for the device: " + why.Error()), mqtt.QuotaExceeded}
	}
	return mqttEndOf(why)
}

// ruleOf is the rule of the gateway's that a rule of MQTT falls under.
func ruleOf(e *mqtt.Error) *wire.Close {
	switch e.Code {
	case mqtt.MalformedPacket:
		return wire.CloseMalformed
	case mqtt.PacketTooLarge:
		return closeOf(websocket.ErrMessageTooBig)
	}
	return wire.CloseContract
}

// fail implements handler: it ends the connection, before CONNACK with one that refuses, later in MQTT 5 with a
// DISCONNECT, in both cases with the reason. 3.1.1 has no word for it, [3.1.1 MQTT-4.8.0-1].
func (c *mqttDevice) fail(why error) {
	switch c.phase {
	case ended:
	case attached:
		end := mqttEndOf(why)
		if c.version == mqtt.V5 { // [MQTT-4.13.1-1]
			c.farewell(end)
		}
		c.finish(end.Close)
	default:
		c.refuseConnect(c.refusalOf(why))
	}
}

// farewell tells a device of MQTT 5 why the connection ends. One that has to come back to
// another node is told which, if that is configured.
func (c *mqttDevice) farewell(end *mqttEnd) {
	p := mqtt.Packet{Type: mqtt.Disconnect, Reason: end.code}
	p.Properties.ReasonString = end.Reason
	if reference := c.shard.gateway.config.MQTT.ServerReference; reference != "" && errors.Is(end.Close, wire.CloseRestart) {
		p.Reason, p.Properties.ServerReference = mqtt.UseAnotherServer, reference
	}
	_ = c.write(&p) // what does not fit is not sent
}

// finish ends the connection once what is pending has left.
func (c *mqttDevice) finish(why *wire.Close) {
	c.left(why)
	c.carrier.end(why)
}

// left implements application: the connection is over, or about to be.
func (c *mqttDevice) left(why *wire.Close) {
	if c.leave(why) != ended {
		c.opening, c.rare = nil, nil
	}
}

// refuseConnect answers a CONNECT that is not accepted, and ends the connection [MQTT-3.2.2-7].
func (c *mqttDevice) refuseConnect(end *mqttEnd) {
	code := strings.ReplaceAll(end.code.String(), " ", "_")
	c.shard.handshakes["refused_"+code]++
	c.refusing(code, end.Reason)
	if c.answersRefused(end.code) {
		p := mqtt.Packet{Type: mqtt.Connack, Reason: end.code}
		p.Properties.ReasonString = end.Reason
		if end.code == mqtt.UseAnotherServer {
			p.Properties.ServerReference = c.shard.gateway.config.MQTT.ServerReference
		}
		_ = c.write(&p)
	}
	c.finish(end.Close)
}

// answersRefused tells whether a refusal is said in a CONNACK. Who has not begun a CONNECT is
// told nothing, nor in 3.1.1 who sends a wrong one [3.1.1 MQTT-3.1.4-1].
func (c *mqttDevice) answersRefused(code mqtt.Code) bool {
	switch code {
	case mqtt.MalformedPacket, mqtt.ProtocolError, mqtt.TopicNameInvalid, mqtt.PacketTooLarge:
		return c.version == mqtt.V5
	}
	return c.version != 0
}

// disconnect is the device's own end, MQTT 5 §3.14, 3.1.1 §3.14. Only one without a failure
// has its will forgotten [MQTT-3.1.2-10] [MQTT-3.14.4-3].
func (c *mqttDevice) disconnect(p *mqtt.Packet) error {
	if p.Properties.Has(mqtt.PropSessionExpiry) && !c.link.SetExpiry(seconds(p.Properties.SessionExpiry)) { // [MQTT-3.14.2-2]
		return errKeptExpiry
	}
	if p.Reason == mqtt.Success {
		c.link.ForgetWill()
	}
	c.left(errPeerClosed)
	c.carrier.end(wire.CloseNormal)
	return nil
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }
