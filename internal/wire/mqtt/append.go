package mqtt

import "github.com/longline/longline/internal/message"

// Append appends p to dst in the form of version v. It refuses what cannot be encoded: strings
// that are too long, not UTF-8 or contain U+0000 (a message from another protocol may), a
// QoS above 2, an identifier of 0, a type that v does not have. The caller makes sure that p keeps
// the other rules. On an error, an *Error, it returns dst as it was.
//
// It leaves out fields that v does not have: before 5, properties and reasons. Only the reason
// of a CONNACK and the codes of a SUBACK are then translated.
func Append(dst []byte, v Version, p *Packet) ([]byte, error) {
	w := writer{b: dst}
	at := len(dst) + 1
	w.byte(firstByte(p))
	w.body(v, p)
	var payload []byte
	if p.Type == Publish {
		payload = p.Payload
	}
	w.length(at, len(payload))
	if w.err != nil {
		return dst, w.err
	}
	return append(w.b, payload...), nil
}

// IDOffset returns the offset in bytes of the packet identifier, two bytes, big-endian,
// in an encoded PUBLISH; 0 for QoS 0, which has none. It is for a PUBLISH that is encoded once and sent to many
// connections, each with its own identifier.
func IDOffset(publish []byte) int {
	if publish[0]>>1&3 == 0 {
		return 0
	}
	_, n := varint(publish[1:])
	topic := 1 + n
	return topic + 2 + int(publish[topic])<<8 + int(publish[topic+1])
}

// firstByte returns the type and the flags, §2.1.2 and §2.1.3.
func firstByte(p *Packet) byte {
	if p.Type > Auth {
		return 0 // body refuses it
	}
	first := byte(p.Type)<<4 | forms[p.Type].flags
	if p.Type == Publish {
		first |= bit(p.Dup, flagDup) | byte(p.QoS&3)<<1 | bit(p.Retain, flagRetain)
	}
	return first
}

// bit returns mask if on.
func bit(on bool, mask byte) byte {
	if on {
		return mask
	}
	return 0
}

// body writes what follows the fixed header, except for the payload of a PUBLISH.
func (w *writer) body(v Version, p *Packet) {
	switch p.Type {
	case Connect:
		w.connect(v, p)
	case Connack:
		w.connack(v, p)
	case Publish:
		w.publish(v, p)
	case Puback, Pubrec, Pubrel, Pubcomp:
		w.id(p.ID)
		w.shortened(v, p)
	case Subscribe:
		w.subscribe(v, p)
	case Suback, Unsuback:
		w.subscribed(v, p)
	case Unsubscribe:
		w.unsubscribe(v, p)
	case Disconnect:
		w.shortened(v, p)
	case Auth:
		w.require(v == V5, ErrSender)
		w.auth(v, p)
	case Pingreq, Pingresp: // nothing follows
	default:
		w.require(false, ErrReservedType)
	}
}

func (w *writer) publish(v Version, p *Packet) {
	w.text(p.Topic)
	w.require(p.QoS <= 2, ErrQoS)                           // [MQTT-3.3.1-4]
	w.require(p.QoS > message.AtMostOnce || !p.Dup, ErrDup) // [MQTT-3.3.1-2]
	if p.QoS > message.AtMostOnce {
		w.id(p.ID)
	}
	w.properties(v, &p.Properties, Publish)
}

// shortened writes a reason code and properties, without the parts that may be left out: the properties if
// there are none, and then also the reason code Success, §3.4.2.1 and §3.14.2.1.
func (w *writer) shortened(v Version, p *Packet) {
	if v < V5 {
		return
	}
	if p.Properties.any(p.Type) {
		w.byte(byte(p.Reason))
		w.properties(v, &p.Properties, p.Type)
	} else if p.Reason != Success {
		w.byte(byte(p.Reason))
	}
}

// auth writes an AUTH, which may be left out only as a whole, §3.15.2.1.
func (w *writer) auth(v Version, p *Packet) {
	if p.Reason == Success && !p.Properties.any(Auth) {
		return
	}
	w.byte(byte(p.Reason))
	w.properties(v, &p.Properties, Auth)
}

func (w *writer) subscribe(v Version, p *Packet) {
	w.id(p.ID)
	w.properties(v, &p.Properties, Subscribe)
	for i := range p.Subscriptions {
		s := &p.Subscriptions[i]
		w.text(s.Filter)
		w.require(s.QoS <= 2, ErrSubscriptionQoS)
		options := byte(s.QoS)
		if v == V5 { // §3.8.3.1
			w.require(s.RetainHandling <= 2, ErrRetainHandling)
			options |= bit(s.NoLocal, 4) | bit(s.RetainAsPublished, 8) | s.RetainHandling<<4
		}
		w.byte(options)
	}
}

// subscribed writes a SUBACK or an UNSUBACK; before 5 an UNSUBACK has no codes.
func (w *writer) subscribed(v Version, p *Packet) {
	w.id(p.ID)
	w.properties(v, &p.Properties, p.Type)
	for _, c := range p.Codes {
		switch {
		case v == V5:
			w.byte(byte(c))
		case p.Type == Suback:
			w.byte(c.SubackV3())
		}
	}
}

func (w *writer) unsubscribe(v Version, p *Packet) {
	w.id(p.ID)
	w.properties(v, &p.Properties, Unsubscribe)
	for _, filter := range p.Filters {
		w.text(filter)
	}
}
