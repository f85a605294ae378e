package mqtt

import (
	"github.com/longline/longline/internal/message"
)

// properties reads the properties of a packet of type t, or of a will, §2.2.2.
func (r *reader) properties(p *Properties, t Type) {
	n := r.varint() // [MQTT-2.2.2-1]: 0 if there are none
	if n > len(r.b) {
		r.fail(ErrPropertiesTooLong)
	}
	if n == 0 || r.err != nil {
		return
	}
	in := reader{b: r.take(n)}
	for len(in.b) > 0 {
		in.property(p, t)
	}
	// §3.1.2.11.10, §3.2.2.3.18
	in.require(p.present&PropAuthData.bit() == 0 || p.present&PropAuthMethod.bit() != 0, ErrAuthData)
	if in.err != nil {
		r.fail(in.err)
	}
}

// property reads one property.
func (r *reader) property(p *Properties, t Type) {
	id := PropertyID(r.byte())
	d := property(id)
	switch {
	case d.kind == kindNone: // identifiers of 0x80 and above would need two bytes: there are none
		r.fail(ErrUnknownProperty)
		return
	case !d.in.has(t):
		r.fail(ErrPropertyPlace)
		return
	case p.present&id.bit() != 0 && d.kind != kindPair && !(d.kind == kindIDs && t == Publish):
		r.fail(ErrPropertyTwice)
		return
	}
	p.Mark(id)
	r.value(p, id, d.kind)
	r.checkValue(p, id)
}

// value reads the value of a property.
func (r *reader) value(p *Properties, id PropertyID, k kind) {
	switch k {
	case kindBool:
		*p.boolean(id) = r.flag() == 1
	case kindQoS:
		p.MaximumQoS = message.QoS(r.flag())
	case kindUint16:
		*p.uint16(id) = r.uint16()
	case kindUint32:
		*p.uint32(id) = r.uint32()
	case kindText:
		*p.text(id) = r.text()
	case kindBinary:
		*p.binary(id) = r.binary()
	case kindIDs:
		p.SubscriptionIDs = append(p.SubscriptionIDs, r.subscriptionID())
	case kindPair: // [MQTT-1.5.7-1]
		p.User = append(p.User, message.Property{Key: r.text(), Value: r.text()})
	case kindNone: // the caller has refused it
	}
}

// flag reads a byte that is 0 or 1.
func (r *reader) flag() byte {
	b := r.byte()
	r.require(b <= 1, ErrPropertyBool)
	return b
}

// subscriptionID reads a subscription identifier, 1 to 268,435,455.
func (r *reader) subscriptionID() uint32 {
	id := r.varint()
	r.require(id != 0, ErrSubscriptionID)
	return uint32(id)
}

// checkValue checks the rules for the values of single properties.
func (r *reader) checkValue(p *Properties, id PropertyID) {
	switch id {
	case PropReceiveMaximum:
		r.require(p.ReceiveMaximum != 0, ErrReceiveMaximum)
	case PropMaximumPacket:
		r.require(p.MaximumPacket != 0, ErrMaximumPacket)
	case PropTopicAlias:
		r.require(p.TopicAlias != 0, ErrTopicAlias) // [MQTT-3.3.2-8]
	case PropResponseTopic:
		r.require(p.ResponseTopic != "", ErrEmptyTopic)            // [MQTT-4.7.3-1]
		r.require(!hasWildcard(p.ResponseTopic), ErrResponseTopic) // [MQTT-3.3.2-14]
	}
}
