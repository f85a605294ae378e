package mqtt

// any reports whether p has a property that a packet of type t may have.
func (p *Properties) any(t Type) bool {
	for _, id := range allowed[t] {
		if p.Has(id) {
			return true
		}
	}
	return false
}

// properties writes the properties of p that a packet of type t, or a will, may have, §2.2.2.
func (w *writer) properties(v Version, p *Properties, t Type) {
	if v < V5 {
		return
	}
	at := len(w.b)
	for _, id := range allowed[t] {
		if p.Has(id) {
			w.property(p, id)
		}
	}
	w.length(at, 0) // [MQTT-2.2.2-1]: 0 if there are none
}

// property writes one property; if it has several values, each with the identifier.
func (w *writer) property(p *Properties, id PropertyID) {
	switch property(id).kind {
	case kindBool:
		w.b = append(w.b, byte(id), bit(*p.boolean(id), 1))
	case kindQoS:
		w.require(p.MaximumQoS <= 1, ErrPropertyBool)
		w.b = append(w.b, byte(id), byte(p.MaximumQoS))
	case kindUint16:
		w.byte(byte(id))
		w.uint16(*p.uint16(id))
	case kindUint32:
		w.byte(byte(id))
		w.uint32(*p.uint32(id))
	case kindText:
		w.byte(byte(id))
		w.text(*p.text(id))
	case kindBinary:
		w.byte(byte(id))
		w.binary(*p.binary(id))
	case kindIDs:
		for _, n := range p.SubscriptionIDs {
			w.require(n <= maxRemaining, ErrVarint)
			w.byte(byte(id))
			w.varint(int(n))
		}
	case kindPair:
		for _, u := range p.User {
			w.byte(byte(id))
			w.text(u.Key)
			w.text(u.Value)
		}
	case kindNone: // not in allowed
	}
}
