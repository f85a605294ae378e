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
	// ID is the message's number: ascending on a node, below 2^53 so that a JSON number holds it, and
	// given once, see IDs. Downlink acknowledgements name it. It is 0 while m is borrowed, and when the
	// node has no IDs.
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

	// What only MQTT devices set; others do not see it. MQTT 5 §3.3.2.3.
	PayloadFormat uint8 // 1 says that the payload is UTF-8

	Origin   Origin    // who took it, and how it came
	Request  *Request  // whom to answer, only from MQTT devices; nil for most
	Trace    *Trace    // the trace that it is part of; nil for most. Nobody changes it
	Delivery *Delivery // of a copy for one receiver; nil when there is nothing to say

	Debtor Debtor // whose share of an Account it is in

	holders   atomic.Int32 // places in which it is kept, see Account
	encodings atomic.Pointer[encoding]
}

// Request is what a publisher says that wants an answer, MQTT 5 §4.10.
type Request struct {
	ResponseTopic   string
	CorrelationData []byte // nil when there is none, which is not the same as empty
}

func (r *Request) size() int {
	if r == nil {
		return 0
	}
	return len(r.ResponseTopic) + len(r.CorrelationData)
}

func (r *Request) equal(o *Request) bool {
	if r == nil || o == nil {
		return r == o
	}
	return r.ResponseTopic == o.ResponseTopic && string(r.CorrelationData) == string(o.CorrelationData)
}

// copy returns a message with the fields of m, which share their bytes with m's. It is the one place that
// names them all: whatever makes a message from another begins with it.
func (m *Message) copy() *Message {
	return &Message{
		ID:          m.ID,
		Topic:       m.Topic,
		Payload:     m.Payload,
		ContentType: m.ContentType,
		Properties:  m.Properties,
		Source:      m.Source,
		Time:        m.Time,
		Expiry:      m.Expiry,
		QoS:         m.QoS,
		Retain:      m.Retain,
		Kept:        m.Kept,

		PayloadFormat: m.PayloadFormat,
		Request:       m.Request,
		Origin:        m.Origin,
		Trace:         m.Trace,
		Delivery:      m.Delivery,
		Debtor:        m.Debtor,
	}
}

// Clone returns an owned copy of m with an ID of its own, for all receivers: one allocation for the
// struct and one for all its bytes, and one each for properties and a request.
func (m *Message) Clone() *Message {
	n := len(m.Topic) + len(m.Payload) + len(m.ContentType) + len(m.Source) + m.Request.size()
	for _, p := range m.Properties {
		n += len(p.Key) + len(p.Value)
	}
	a := arena{buf: make([]byte, 0, n)}
	c := m.copy()
	c.ID, c.Delivery = NextID(), nil
	c.Topic, c.Payload, c.Source = a.string(m.Topic), a.bytes(m.Payload), a.string(m.Source)
	if m.ContentType != JSON {
		c.ContentType = a.string(m.ContentType)
	} else {
		c.ContentType = JSON
	}
	if m.Request != nil {
		c.Request = &Request{ResponseTopic: a.string(m.Request.ResponseTopic)}
		if m.Request.CorrelationData != nil {
			c.Request.CorrelationData = a.bytes(m.Request.CorrelationData)
		}
	}
	c.Properties = nil
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
	n := len(m.Topic) + len(m.Payload) + len(m.ContentType) + m.Request.size()
	n += len(m.Properties) * propertySize
	for _, p := range m.Properties {
		n += len(p.Key) + len(p.Value)
	}
	return n
}

// Expired reports whether the message may no longer be delivered at now.
func (m *Message) Expired(now time.Time) bool {
	return m.Expiry != 0 && now.UnixMilli() >= m.Expiry
}

// Equal compares content, not identity: IDs and times may differ.
func (m *Message) Equal(o *Message) bool {
	return m.Topic == o.Topic && string(m.Payload) == string(o.Payload) &&
		m.ContentType == o.ContentType && m.QoS == o.QoS && m.Retain == o.Retain &&
		m.PayloadFormat == o.PayloadFormat && m.Request.equal(o.Request) &&
		slices.Equal(m.Properties, o.Properties)
}

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
