package mqtt

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/mqtt"
)

// Calls. A device that can be called subscribes to device/{id}/call/#. A call has QoS 0, because it is not queued. In MQTT 5 the
// gateway publishes it on device/{id}/call/{method}, with the response topic device/{id}/reply and the call's number as correlation
// data, in decimal. The device publishes its reply there with the same correlation data. If the reply is a refusal, a user property
// "error" has its code, and the payload is the reason.
//
// 3.1.1 has no properties, so the number is in the topics: the gateway publishes a call on device/{id}/call/{method}/{number}, and
// the device replies on device/{id}/reply/{number}, or refuses on device/{id}/reply/{number}/error.
//
// The call of a command that was sent before, and that the device may have got, says so: by the user property "again", which is
// "true"; in 3.1.1 by the topic device/{id}/call/{method}/{number}/again.

func replyTopic(device string) string { return "device/" + device + "/reply" }

// callError is the user property that makes a reply a refusal; in 3.1.1, where it is a part of the topic, it is also
// the code.
const callError = "error"

// callAgain is the user property of a repeated call, and in 3.1.1 the last level of its topic.
const callAgain = "again"

// Call implements session.Conn: it sends a call, if the device has subscribed to it.
func (c *Device) Call(p *wire.Packet) (refused string) {
	if !c.Attached() {
		return session.Ending
	}
	device := c.Link().Session().Device()
	out := mqtt.Packet{Type: mqtt.Publish, Topic: "device/" + device + "/call/" + p.Method, Payload: p.Payload}
	number := strconv.FormatUint(p.ID, 10)
	if c.version == mqtt.V5 {
		out.Properties.ContentType = p.ContentType
		out.Properties.ResponseTopic = replyTopic(device)
		out.Properties.CorrelationData = []byte(number)
		out.Properties.MessageExpiry = uint32((p.Timeout + time.Second - 1) / time.Second)
		if p.Again {
			out.Properties.User = []message.Property{{Key: callAgain, Value: "true"}}
		}
	} else {
		out.Topic += "/" + number
		if p.Again {
			out.Topic += "/" + callAgain
		}
	}
	if !c.Link().Subscribed(out.Topic) {
		return "the device has not subscribed to " + out.Topic
	}
	b, err := c.encode(&out) // whole: write would leave out properties of a packet that is too large
	switch {
	case errors.Is(err, errNotSent):
		return "the call is larger than the device's Maximum Packet Size"
	case err != nil:
		return err.Error()
	}
	c.send(b)
	return ""
}

// answersCall reports whether a publication is the device's reply to a call.
func (c *Device) answersCall(p *mqtt.Packet) bool {
	rest, ok := strings.CutPrefix(p.Topic, "device/")
	if !ok {
		return false
	}
	rest, ok = strings.CutPrefix(rest, c.Link().Session().Device())
	if !ok {
		return false
	}
	rest, ok = strings.CutPrefix(rest, "/reply")
	if c.version == mqtt.V5 {
		return ok && rest == "" && p.Properties.CorrelationData != nil
	}
	return ok && strings.HasPrefix(rest, "/")
}

// handleReply gives a reply to the caller. A reply to no open call changes nothing.
func (c *Device) handleReply(p *mqtt.Packet) error {
	fresh, _, err := c.Link().Take(session.Taken{ID: p.ID, QoS: p.QoS, Again: p.Dup})
	if err != nil || !fresh {
		return err
	}
	if r := c.reply(p); r.ID != 0 {
		return c.Link().Handle(r)
	}
	return nil
}

// reply returns a publication as a reply packet, borrowed; its ID is 0 if it names no call.
func (c *Device) reply(p *mqtt.Packet) *wire.Packet {
	r := &wire.Packet{Op: wire.Reply, Payload: p.Payload, ContentType: p.Properties.ContentType}
	number := string(p.Properties.CorrelationData)
	code, refused := userProperty(p, callError)
	if c.version < mqtt.V5 {
		number = p.Topic[len(replyTopic(c.Link().Session().Device()))+1:]
		if number, refused = strings.CutSuffix(number, "/"+callError); refused {
			code = callError
		}
	}
	if refused {
		r.Payload, r.Err = nil, wire.Error{Code: code, Reason: strings.ToValidUTF8(string(p.Payload), "\uFFFD")}
	}
	r.ID, _ = strconv.ParseUint(number, 10, 64)
	return r
}

func userProperty(p *mqtt.Packet, key string) (value string, ok bool) {
	for _, u := range p.Properties.User {
		if u.Key == key {
			return u.Value, true
		}
	}
	return "", false
}
