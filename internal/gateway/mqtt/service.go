package mqtt

import (
	"cmp"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"strconv"
	"strings"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/topic"
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

// callsService reports whether a publication is a call of a service; rest is what its topic has behind device/{id}/service/.
func (c *Device) callsService(p *mqtt.Packet) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(p.Topic, "device/")
	if ok {
		rest, ok = strings.CutPrefix(rest, c.Link().Session().Device())
	}
	if ok {
		rest, ok = strings.CutPrefix(rest, "/service/")
	}
	return rest, ok
}

// callService begins a call. It is no message: nobody who subscribes to its topic gets it.
func (c *Device) callService(p *mqtt.Packet, rest string) error {
	call, refused := c.serviceCall(p, rest)
	t := session.Taken{ID: p.ID, QoS: p.QoS, Again: p.Dup, Call: true, Refused: refused}
	if p.QoS == message.AtLeastOnce {
		t.Sum = sumOf(p)
	}
	fresh, earlier, err := c.Link().Take(t)
	switch {
	case err != nil:
		return err
	case fresh:
		return c.Link().Handle(call)
	case earlier && refused.Code == "":
		c.Link().RefuseCall(call, wire.Error{
			Code:   session.CodeLost,
			Reason: "the call came on an earlier connection, which ended before you had the answer; it may have been done",
		})
	case p.QoS == message.AtMostOnce: // which has no answer
		c.shard.LogRefusal(c.Link(), wire.Call, &refused)
	}
	return nil
}

var sumSeed = maphash.MakeSeed()

// sumOf returns a sum of a call's contents.
func sumOf(p *mqtt.Packet) uint64 {
	var h maphash.Hash
	h.SetSeed(sumSeed)
	for _, part := range [][]byte{[]byte(p.Topic), p.Properties.CorrelationData, p.Payload} {
		var size [8]byte
		binary.LittleEndian.PutUint64(size[:], uint64(len(part)))
		_, _ = h.Write(size[:])
		_, _ = h.Write(part)
	}
	return h.Sum64()
}

// serviceCall returns a publication as a call, borrowed, or why it is refused.
func (c *Device) serviceCall(p *mqtt.Packet, rest string) (call *wire.Packet, refused wire.Error) {
	call = &c.shard.uplink
	call.Reset()
	call.Op, call.Payload, call.ContentType, call.Timeout = wire.Call, p.Payload, p.Properties.ContentType, messageExpiry(&p.Properties)
	call.Message.Properties = p.Properties.User
	device := c.Link().Session().Device()
	var number, replyTo string
	form := "device/{id}/service/{service}/{method}"
	if call.Service, call.Method, _ = strings.Cut(rest, "/"); c.version < mqtt.V5 {
		form += "/{number}"
		call.Method, number, _ = strings.Cut(call.Method, "/")
		call.ID, _ = strconv.ParseUint(number, 10, 64)
		replyTo = serviceReplyTopic(device) + "/" + number
	} else {
		replyTo = cmp.Or(p.Properties.ResponseTopic, serviceReplyTopic(device))
		call.Message.Request = &message.Request{ResponseTopic: replyTo, CorrelationData: p.Properties.CorrelationData}
	}
	switch {
	case call.Service == "", call.Method == "", strings.Contains(call.Method, "/"), c.version < mqtt.V5 && (call.ID == 0 || call.ID > wire.MaxID || strconv.FormatUint(call.ID, 10) != number):
		return call, wire.Error{Code: session.CodeBadTopic, Reason: "want " + form}
	case !strings.HasPrefix(replyTo, "device/"+device+"/") || topic.ValidateName(replyTo, c.shard.server.Door.Sessions.Config().Topics) != nil:
		return call, wire.Error{Code: session.CodeNotAllowed, Reason: "the response topic of a call is one below device/{id}/"}
	case !c.Link().Subscribed(replyTo):
		return call, wire.Error{Code: session.CodeNotAllowed, Reason: "subscribe to the topic of the reply first"}
	}
	return call, refused
}

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
