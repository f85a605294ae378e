package mqtt

import (
	"errors"
	"strconv"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/mqtt"
)

// Calls of the device to services. In MQTT 5 the device publishes a call on device/{id}/service/{service}/{method}, with a response
// topic below device/{id}/ and correlation data of its own. The gateway publishes the reply there with the same correlation data. If
// the reply is a refusal, a user property "error" has its code, and the payload is the reason.
//
// 3.1.1 has no properties, so the device chooses a number: it publishes the call on device/{id}/service/{service}/{method}/{number},
// and the gateway replies on device/{id}/service-reply/{number}, or refuses on device/{id}/service-reply/{number}/error, where the
// payload is the code and the reason.

// serviceReplyTopic returns the topic of replies in 3.1.1, and in MQTT 5 if a call names none.
func serviceReplyTopic(device string) string { return "device/" + device + "/service-reply" }

// Reply implements session.Conn: it publishes the reply to a call of the device, with QoS 0.
func (c *Device) Reply(p *wire.Packet) (refused wire.Error) {
	if !c.Attached() {
		return refused
	}
	if session.RefusedHere(p.Err.Code) {
		c.shard.LogRefusal(c.Link(), wire.Call, &p.Err)
	}
	out := mqtt.Packet{Type: mqtt.Publish, Payload: p.Payload}
	if c.version == mqtt.V5 {
		out.Topic, out.Properties.CorrelationData = p.Message.Request.ResponseTopic, p.Message.Request.CorrelationData
		out.Properties.ContentType = p.ContentType
		if p.Err.Code != "" {
			out.Payload = []byte(p.Err.Reason)
			out.Properties.User = []message.Property{{Key: callError, Value: p.Err.Code}}
		}
	} else {
		out.Topic = serviceReplyTopic(c.Link().Session().Device()) + "/" + strconv.FormatUint(p.ID, 10)
		if p.Err.Code != "" {
			out.Topic += "/" + callError
			out.Payload = []byte(p.Err.Error())
		}
	}
	b, err := c.encode(&out) // whole: write would leave out properties of a packet that is too large
	switch {
	case errors.Is(err, errNotSent):
		return wire.Error{Code: service.TooLarge, Reason: "the answer is larger than the client's Maximum Packet Size"}
	case err != nil:
		return wire.Error{Code: service.InvalidAnswer, Reason: err.Error()}
	}
	c.send(b)
	return refused
}
