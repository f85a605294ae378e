package message

// Delivery is what differs between the receivers of one message. It is immutable
// once a message has it.
type Delivery struct {
	Subscriptions []uint32 // identifiers of the matching subscriptions, MQTT 5 §3.3.2.3.8
	Share         string   // the shared subscription's filter, $share/{group}/{filter}; empty for any other

	// Orphan is the key under which a store keeps the message while no receiver has it, see store.SpaceOrphan. It is not in the record.
	Orphan string
}

// With returns a copy of an owned message for one receiver: with the same ID and
// the same bytes, but its own encodings.
func (m *Message) With(d *Delivery) *Message {
	c := m.copy()
	c.Delivery = d
	return c
}
