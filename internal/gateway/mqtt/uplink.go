package mqtt

import (
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/mqtt"
)

// publish gives a publication to the session, MQTT 5 §3.3, unless it is a call of a service or the reply to a call.
func (c *Device) publish(p *mqtt.Packet) error {
	if p.Properties.TopicAlias != 0 {
		if err := c.resolve(p); err != nil {
			return err
		}
	}
	if c.answersCall(p) {
		return c.handleReply(p)
	}
	if rest, ok := c.callsService(p); ok {
		return c.callService(p, rest)
	}
	up := &c.shard.uplink
	up.Reset()
	up.Op, up.ID, up.Again, up.Expiry = wire.Pub, uint64(p.ID), p.Dup, messageExpiry(&p.Properties)
	m := &up.Message
	m.Topic, m.Payload, m.QoS, m.Retain = p.Topic, p.Payload, p.QoS, p.Retain
	takeProperties(m, &p.Properties)
	err := c.Link().Handle(up)
	if errors.Is(err, wire.CloseContract) { // Handle checks only the topic
		return &ending{door.CloseOf(err), mqtt.TopicNameInvalid}
	}
	return err
}

// takeProperties copies the properties of a PUBLISH or a will into the message.
func takeProperties(m *message.Message, p *mqtt.Properties) {
	if p.TextPayload {
		m.PayloadFormat = 1
	}
	m.ContentType = p.ContentType
	if p.ResponseTopic != "" || p.CorrelationData != nil {
		m.Request = &message.Request{ResponseTopic: p.ResponseTopic, CorrelationData: p.CorrelationData}
	}
	m.Properties = p.User
}

// messageExpiry returns how long a message may wait for its receivers; 0 means for ever. An interval of 0 means that
// it expires at once: the message gets one second, MQTT 5 §3.3.2.3.3.
func messageExpiry(p *mqtt.Properties) time.Duration {
	if !p.Has(mqtt.PropMessageExpiry) {
		return 0
	}
	return max(time.Second, seconds(p.MessageExpiry))
}

// resolve replaces an alias by its topic, or remembers the topic of an alias, MQTT 5 §3.3.2.3.4.
func (c *Device) resolve(p *mqtt.Packet) error {
	alias := int(p.Properties.TopicAlias)
	if alias > c.shard.server.Config.TopicAliases { // [MQTT-3.3.2-9]
		return errAliasRange
	}
	r := c.more()
	for len(r.inbound) < alias {
		r.inbound = append(r.inbound, "")
	}
	known := &r.inbound[alias-1]
	switch {
	case p.Topic == "" && *known == "":
		return errAliasUnknown
	case p.Topic == "":
		p.Topic = *known
	case p.Topic != *known:
		*known = strings.Clone(c.keptTopic(p.Topic))
	}
	return nil
}

// keptTopic returns what an alias keeps of a topic: all of a valid one. Of a topic that is too long, it keeps just
// enough to be still too long, so that aliases take no more memory than sessions.topics allows.
func (c *Device) keptTopic(name string) string {
	longest := c.shard.server.Door.Sessions.Config().Topics.Length
	if len(name) <= longest+utf8.UTFMax {
		return name
	}
	end := longest + 1
	for !utf8.RuneStart(name[end]) {
		end++
	}
	return name[:end]
}

// received handles PUBREC, MQTT 5 §4.3.3.
func (c *Device) received(p *mqtt.Packet) error {
	refused := p.Reason.Failed()
	found, err := c.Link().Received(p.ID, refused)
	switch id := p.ID; {
	case err != nil || refused:
	case c.Link().Durable(): // a node that forgot the PUBREC would send the message again to a device that has released it
		c.Link().WhenSafe(func() { c.confirm(mqtt.Pubrel, id, found) })
	default:
		c.confirm(mqtt.Pubrel, id, found)
	}
	return err
}

// released handles PUBREL.
func (c *Device) released(p *mqtt.Packet) {
	id, found := p.ID, c.Link().Released(p.ID)
	if !c.Link().Durable() {
		c.confirm(mqtt.Pubcomp, id, found)
		return
	}
	c.Link().WhenSafe(func() { c.confirm(mqtt.Pubcomp, id, found) })
}

// confirm sends a PUBREL or PUBCOMP, which says whether the identifier was known.
func (c *Device) confirm(t mqtt.Type, id uint16, found bool) {
	p := mqtt.Packet{Type: t, ID: id}
	if !found {
		p.Reason = mqtt.PacketIDNotFound
	}
	_ = c.write(&p)
}

// conflateProperty is the user property of a SUBSCRIBE that makes its subscriptions conflate if it is "true".
const conflateProperty = "conflate"

// subscribe answers a SUBSCRIBE, each filter by itself [MQTT-3.8.4-6]. The next flush sends the retained messages,
// after the answer. Filters beyond sessions.max_filters are refused without a look.
func (c *Device) subscribe(p *mqtt.Packet) {
	most := c.shard.server.Door.Sessions.Config().MaxFilters
	subs := make([]topic.Subscription, min(len(p.Subscriptions), most))
	results := make([]wire.Error, len(subs))
	id := uint32(0)
	if ids := p.Properties.SubscriptionIDs; len(ids) > 0 {
		id = ids[0]
	}
	conflate, _ := userProperty(p, conflateProperty)
	for i, s := range p.Subscriptions[:len(subs)] {
		subs[i] = topic.Subscription{
			Filter:            s.Filter,
			ID:                id,
			QoS:               s.QoS,
			NoLocal:           s.NoLocal,
			RetainAsPublished: s.RetainAsPublished,
			RetainHandling:    s.RetainHandling,
			Conflate:          conflate == "true",
		}
	}
	c.Link().SubscribeEach(subs, results)
	answer := mqtt.Packet{Type: mqtt.Suback, ID: p.ID, Codes: make([]mqtt.Code, len(p.Subscriptions))}
	for i := len(subs); i < len(answer.Codes); i++ {
		answer.Codes[i] = mqtt.QuotaExceeded
		c.explain(&answer, tooManyFilters)
	}
	for i, refused := range results {
		answer.Codes[i] = mqtt.Code(subs[i].QoS)
		if refused.Code != "" {
			answer.Codes[i] = refusals[refused.Code]
			c.explain(&answer, refused.Reason)
		}
	}
	c.Link().WhenSubscribed(func() { _ = c.write(&answer) })
}

const tooManyFilters = "the packet has more filters than sessions.max_filters"

// unsubscribe answers an UNSUBSCRIBE.
func (c *Device) unsubscribe(p *mqtt.Packet) {
	existed := make([]bool, len(p.Filters))
	c.Link().UnsubscribeEach(p.Filters, existed)
	answer := mqtt.Packet{Type: mqtt.Unsuback, ID: p.ID, Codes: make([]mqtt.Code, len(existed))}
	for i := range existed {
		if !existed[i] {
			answer.Codes[i] = mqtt.NoSubscriptionExisted
		}
	}
	c.Link().WhenSafe(func() { _ = c.write(&answer) })
}

// refusals are the reason codes for the session's refusals.
var refusals = map[string]mqtt.Code{
	session.CodeNotAllowed:           mqtt.NotAuthorized,
	session.CodeQueueFull:            mqtt.QuotaExceeded,
	session.CodeTooLarge:             mqtt.QuotaExceeded,
	session.CodeNotRetained:          mqtt.QuotaExceeded,
	session.CodeQuota:                mqtt.QuotaExceeded,
	session.CodeBadTopic:             mqtt.TopicNameInvalid,
	session.CodeInternal:             mqtt.UnspecifiedError,
	session.CodeBadFilter:            mqtt.TopicFilterInvalid,
	session.CodeTooManyFilters:       mqtt.QuotaExceeded,
	session.CodeTooManySubscriptions: mqtt.QuotaExceeded,
}

// explain adds a reason string, if the client wants reason strings [MQTT-3.1.2-29].
func (c *Device) explain(p *mqtt.Packet, reason string) {
	if !c.noReasons {
		p.Properties.ReasonString = reason
	}
}

// Answer implements session.Conn: it sends the answer to a publication.
func (c *Device) Answer(p *wire.Packet) {
	if c.Attached() && p.Op == wire.Ack && (p.Of == wire.Pub || p.Of == wire.Call) {
		c.acknowledge(p)
	}
}

// acknowledge answers a publication. 3.1.1 has no refusals: a publication that is refused for good is acknowledged as
// if it had been accepted, 3.1.1 §3.3.5; one that cannot be accepted now ends the connection.
func (c *Device) acknowledge(p *wire.Packet) {
	answer := mqtt.Packet{Type: mqtt.Puback, ID: uint16(p.ID)}
	if p.QoS == message.ExactlyOnce {
		answer.Type = mqtt.Pubrec
	}
	c.shard.LogRefusal(c.Link(), p.Of, &p.Err)
	switch {
	case p.Err.Code == "":
	case c.version == mqtt.V5:
		answer.Reason = refusals[p.Err.Code]
		c.explain(&answer, p.Err.Reason)
	case !session.Final(p.Err.Code):
		c.Fail(errUntold)
		return
	}
	_ = c.write(&answer)
}
