package message

// Delivery is what holds for one receiver of a message and not for the others. It is not
// changed once a message has it.
type Delivery struct {
	Subscriptions []uint32 // identifiers of the subscriptions that it answers, MQTT 5 §3.3.2.3.8
	Share         string   // the shared subscription's filter, $share/{group}/{filter}; empty for any other
}

// With returns a copy of an owned message for a receiver: the same message, by its ID and
// its bytes, with encodings of its own.
func (m *Message) With(d *Delivery) *Message {
	c := m.copy()
	c.Delivery = d
	return c
}
