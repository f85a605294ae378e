package mqtt

import (
	"strings"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
)

// properties reads the properties of a packet of p's type, if the version has any.
func (d *Decoder) properties(p *Packet, r *reader) {
	if d.Version == V5 {
		r.properties(&p.Properties, p.Type)
	}
}

// code reads a reason code and checks that the peer may send it in a packet of type t.
func (d *Decoder) code(t Type, r *reader) Code {
	c := Code(r.byte())
	r.require(c.legal(t, !d.Server), codeRules[t])
	return c
}

// publish reads a PUBLISH, §3.3.
func (d *Decoder) publish(p *Packet, r *reader) {
	p.Topic = r.text()
	if p.QoS > message.AtMostOnce { // [MQTT-2.2.1-2] [3.1.1 MQTT-2.3.1-5]: QoS 0 has none
		p.ID = r.id()
	}
	d.properties(p, r)
	switch {
	case p.Topic != "":
		r.require(!hasWildcard(p.Topic), ErrTopicWildcard) // [MQTT-3.3.2-2] [3.1.1 MQTT-3.3.2-2]
	case d.Version == V5:
		r.require(p.Properties.TopicAlias != 0, ErrNoTopic)
	default:
		r.fail(ErrEmptyTopic) // [3.1.1 MQTT-4.7.3-1]
	}
	// [MQTT-3.3.4-6]
	r.require(!d.Server || len(p.Properties.SubscriptionIDs) == 0, ErrClientsID)
	p.Payload = r.rest()
}

func hasWildcard(topic string) bool {
	return strings.IndexByte(topic, '+') >= 0 || strings.IndexByte(topic, '#') >= 0
}

// acknowledgement reads a PUBACK, PUBREC, PUBREL or PUBCOMP, §3.4 to §3.7.
func (d *Decoder) acknowledgement(p *Packet, r *reader) {
	p.ID = r.id()
	if d.Version == V5 {
		d.shortened(p, r)
	}
}

// shortened reads a reason code and properties. The length of the properties may be left out if there
// are none, and then also the reason code Success, §3.4.2.1 and §3.14.2.1.
func (d *Decoder) shortened(p *Packet, r *reader) {
	if len(r.b) > 0 {
		p.Reason = d.code(p.Type, r)
	}
	if len(r.b) > 0 {
		d.properties(p, r)
	}
}

// subscribe reads a SUBSCRIBE, §3.8.
func (d *Decoder) subscribe(p *Packet, r *reader) {
	p.ID = r.id()
	d.properties(p, r)
	for len(r.b) > 0 {
		s := Subscription{Filter: r.filter()}
		if options := r.byte(); d.Version == V5 {
			r.options(&s, options)
		} else {
			r.require(options <= 2, ErrSubscriptionQoSV3) // [3.1.1 MQTT-3.8.3-4]
			s.QoS = message.QoS(options)
		}
		p.Subscriptions = append(p.Subscriptions, s)
	}
	r.require(len(p.Subscriptions) > 0, ErrNoSubscription) // [MQTT-3.8.3-2] [3.1.1 MQTT-3.8.3-3]
}

// filter reads a topic filter; the session checks its bounds. A malformed filter ends the connection [MQTT-4.13.1-1]: 0x8F
// answers a filter that is correctly formed, §3.9.3.
func (r *reader) filter() string {
	filter := r.text()
	r.require(filter != "", ErrEmptyFilter) // [MQTT-4.7.3-1]
	if topic.ValidateFilter(filter, topic.Unbounded) != nil {
		r.fail(ErrFilter) // [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.8.2-1] [MQTT-4.8.2-2]
	}
	return filter
}

// options sets s from the subscription options, §3.8.3.1.
func (r *reader) options(s *Subscription, options byte) {
	s.QoS = message.QoS(options & 3)
	s.NoLocal = options&4 != 0
	s.RetainAsPublished = options&8 != 0
	s.RetainHandling = options >> 4 & 3
	r.require(options>>6 == 0, ErrSubscriptionOption) // [MQTT-3.8.3-5]
	r.require(s.QoS <= 2, ErrSubscriptionQoS)
	r.require(s.RetainHandling <= 2, ErrRetainHandling)
	// [MQTT-3.8.3-4]
	r.require(!s.NoLocal || !strings.HasPrefix(s.Filter, "$share/"), ErrSharedNoLocal)
}

// unsubscribe reads an UNSUBSCRIBE, §3.10.
func (d *Decoder) unsubscribe(p *Packet, r *reader) {
	p.ID = r.id()
	d.properties(p, r)
	for len(r.b) > 0 {
		p.Filters = append(p.Filters, r.filter())
	}
	r.require(len(p.Filters) > 0, ErrNoFilter) // [MQTT-3.10.3-2] [3.1.1 MQTT-3.10.3-2]
}

// subscribed reads a SUBACK, §3.9, or an UNSUBACK, §3.11. Before 5 an UNSUBACK has no codes.
func (d *Decoder) subscribed(p *Packet, r *reader) {
	p.ID = r.id()
	d.properties(p, r)
	if d.Version < V5 && p.Type == Unsuback {
		return
	}
	r.require(len(r.b) > 0, ErrNoCode) // [MQTT-3.8.4-6]; a request without filters is not legal
	for len(r.b) > 0 {
		c := d.code(p.Type, r)
		if d.Version < V5 { // [3.1.1 MQTT-3.9.3-2]
			r.require(c <= GrantedQoS2 || c == UnspecifiedError, ErrSubackCode)
		}
		p.Codes = append(p.Codes, c)
	}
}

// disconnectOrAuth reads a DISCONNECT, §3.14, or an AUTH, §3.15.
func (d *Decoder) disconnectOrAuth(p *Packet, r *reader) {
	if d.Version < V5 || len(r.b) == 0 { // Success, §3.14.2.1 and §3.15.2.1
		r.require(Success.legal(p.Type, !d.Server), codeRules[p.Type])
		return
	}
	d.shortened(p, r)
	if p.Type == Auth {
		r.require(p.Properties.Has(PropAuthMethod), ErrAuthMethod)
	} else { // [MQTT-3.14.2-2]
		r.require(d.Server || !p.Properties.Has(PropSessionExpiry), ErrServersExpiry)
	}
}
