// Package message holds the datum that Longline moves: what a device or a backend
// published, above any wire format and below any policy.
package message

import (
	"slices"
	"sync/atomic"
	"time"
	"unsafe"
)

// QoS is the delivery guarantee of a message, as MQTT names it.
type QoS uint8

const (
	AtMostOnce  QoS = 0 // may be lost when something is full or away
	AtLeastOnce QoS = 1 // kept until acknowledged or expired, may come twice
	ExactlyOnce QoS = 2 // as AtLeastOnce, and never twice to a device whose protocol has it
)

// JSON is the content type of a payload that is one JSON value.
const JSON = "application/json"

// Property is one user property. Keys may repeat; order is kept.
type Property struct{ Key, Value string }

// Message is what was published. It is borrowed or owned.
//
// A borrowed message has fields that are views of a read buffer: it is valid until the
// call that lent it returns. Clone makes an owned one, which nobody changes any more, so
// that any number of goroutines may hold it.
type Message struct {
	// ID is the node's own number of the message: ascending, never 0 for an owned message,
	// below 2^53 so that a JSON number holds it. Downlink acknowledgements name it.
	ID          uint64
	Topic       string
	Payload     []byte
	ContentType string // a media type, or empty for bytes of no stated type
	Properties  []Property
	Source      string // device id of the publisher; empty for a backend
	Time        int64  // Unix milliseconds at which the gateway took it
	Expiry      int64  // Unix milliseconds after which it is not delivered; 0 is never
	QoS         QoS

	// Retain asks the gateway to keep the message for later subscribers, and tells one of
	// those that it was kept. Kept tells the others that the publisher asked for it.
	Retain bool
	Kept   bool

	// What only MQTT devices set; others see neither. MQTT 5 §3.3.2.3.
	PayloadFormat   uint8 // 1 says that the payload is UTF-8
	ResponseTopic   string
	CorrelationData []byte // nil when there is none, which is not the same as empty

	Delivery *Delivery // of a copy for one receiver; nil when there is nothing to say

	Debtor Debtor // whose share of an Account it is in

	holders   atomic.Int32 // places in which it is kept, see Account
	encodings atomic.Pointer[encoding]
}

// Clone returns an owned copy of m with an ID of its own: one allocation for the struct
// and one for all its bytes, whatever the number of fields.
func (m *Message) Clone() *Message {
	n := len(m.Topic) + len(m.Payload) + len(m.ContentType) + len(m.Source) + len(m.ResponseTopic) + len(m.CorrelationData)
	for _, p := range m.Properties {
		n += len(p.Key) + len(p.Value)
	}
	a := arena{buf: make([]byte, 0, n)}
	c := &Message{
		ID:      NextID(),
		Topic:   a.string(m.Topic),
		Source:  a.string(m.Source),
		Time:    m.Time,
		Expiry:  m.Expiry,
		QoS:     m.QoS,
		Retain:  m.Retain,
		Kept:    m.Kept,
		Debtor:  m.Debtor,
		Payload: a.bytes(m.Payload),

		PayloadFormat: m.PayloadFormat,
		ResponseTopic: a.string(m.ResponseTopic),
	}
	if m.CorrelationData != nil {
		c.CorrelationData = a.bytes(m.CorrelationData)
	}
	if m.ContentType == JSON {
		c.ContentType = JSON
	} else {
		c.ContentType = a.string(m.ContentType)
	}
	if len(m.Properties) > 0 {
		c.Properties = make([]Property, len(m.Properties))
		for i, p := range m.Properties {
			c.Properties[i] = Property{a.string(p.Key), a.string(p.Value)}
		}
	}
	return c
}

// propertySize is what a property occupies beside its text, which may be empty.
const propertySize = int(unsafe.Sizeof(Property{}))

// Size is the number of bytes that the message's content occupies, for queue bounds.
func (m *Message) Size() int {
	n := len(m.Topic) + len(m.Payload) + len(m.ContentType) + len(m.ResponseTopic) + len(m.CorrelationData)
	n += len(m.Properties) * propertySize
	for _, p := range m.Properties {
		n += len(p.Key) + len(p.Value)
	}
	return n
}

// Expired tells whether the message may no longer be delivered at now.
func (m *Message) Expired(now time.Time) bool {
	return m.Expiry != 0 && now.UnixMilli() >= m.Expiry
}

// Equal compares content, not identity: IDs and times may differ.
func (m *Message) Equal(o *Message) bool {
	return m.Topic == o.Topic && string(m.Payload) == string(o.Payload) &&
		m.ContentType == o.ContentType && m.QoS == o.QoS && m.Retain == o.Retain &&
		m.PayloadFormat == o.PayloadFormat && m.ResponseTopic == o.ResponseTopic &&
		string(m.CorrelationData) == string(o.CorrelationData) &&
		slices.Equal(m.Properties, o.Properties)
}

// lastID starts at the clock so that IDs of a restarted node do not meet those that it
// gave before: 4,096 a millisecond can be given for ever without running ahead of it.
var lastID atomic.Uint64

func init() { lastID.Store(uint64(time.Now().UnixMilli()) << 12) }

// NextID returns the next message ID of this process. Safe from any goroutine. IDs pass 2^53
// in September 2039: 2^41 ms after 1970.
func NextID() uint64 { return lastID.Add(1) }

// LastID returns the ID that was given last. Safe from any goroutine.
func LastID() uint64 { return lastID.Load() }

// arena cuts strings and slices out of one allocation.
type arena struct{ buf []byte }

func (a *arena) bytes(p []byte) []byte {
	at := len(a.buf)
	a.buf = append(a.buf, p...)
	return a.buf[at:len(a.buf):len(a.buf)]
}

func (a *arena) string(s string) string {
	if s == "" {
		return ""
	}
	at := len(a.buf)
	a.buf = append(a.buf, s...)
	return unsafeString(a.buf[at:])
}
