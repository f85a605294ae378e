// Package message has the message that Longline transports: what a device or a backend
// published, independent of wire formats and policies.
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
	AtMostOnce  QoS = 0 // may be lost when a buffer is full or the receiver is away
	AtLeastOnce QoS = 1 // kept until acknowledged or expired; may arrive twice
	ExactlyOnce QoS = 2 // like AtLeastOnce, but never twice for a device whose protocol has QoS 2
)

// JSON is the content type of a payload that is one JSON value.
const JSON = "application/json"

// Property is one user property. Keys may repeat; order is kept.
type Property struct{ Key, Value string }

// Message is a published message. It is borrowed or owned.
//
// The fields of a borrowed message are views of a read buffer, valid until the
// call that passed it returns. Clone makes an owned copy, which nobody changes any more, so
// any number of goroutines may keep it.
type Message struct {
	// ID is the message's number: ascending on a node, below 2^53 so that a JSON number holds it, and
	// unique, see IDs. Downlink acknowledgements name it. It is 0 while m is borrowed, and when the
	// node had no IDs.
	ID          uint64
	Topic       string
	Payload     []byte
	ContentType string // a media type, or empty for bytes of no stated type
	Properties  []Property
	Source      string // device id of the publisher; empty for a backend
	Time        int64  // when the gateway received it, in Unix milliseconds
	Expiry      int64  // when it expires, in Unix milliseconds; 0 means never
	QoS         QoS

	// In a publication, Retain asks the gateway to keep the message for later subscribers. For a receiver, it says that the
	// message was sent because it was retained. Kept tells the other receivers that the publisher set Retain.
	Retain bool
	Kept   bool

	// Only MQTT devices set these, and only they see them. MQTT 5 §3.3.2.3.
	PayloadFormat uint8 // 1 says that the payload is UTF-8

	// At is, in a cluster, the position in the log of who wants what up to which the publisher's node had read when it looked for receivers. It
	// is 0 without a cluster, and when one device alone gets the message. A session that has moved decides by it whether it takes the message, or
	// the node from which it came sends it on.
	At uint64
	// Hops is how many nodes have sent the message on to another one, because they have not the device any more.
	Hops uint8

	Origin   Origin    // which node received it, and from whom
	Request  *Request  // where to send an answer; only from MQTT devices, nil for most
	Trace    *Trace    // the trace that it belongs to; nil for most, and immutable
	Delivery *Delivery // what is special for one receiver of a copy; nil if nothing is

	Debtor Debtor // the share of an Account that it counts in

	holders   atomic.Int32 // places that keep it, see Account
	encodings atomic.Pointer[encoding]
}

// Request is what a publisher that wants an answer adds, MQTT 5 §4.10.
type Request struct {
	ResponseTopic   string
	CorrelationData []byte // nil if absent, which differs from empty
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

// copy returns a message with the fields of m, which share their bytes with m's. It is the only place that
// names all fields: every function that makes a message from another begins with it.
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
		At:            m.At,
		Hops:          m.Hops,
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

// Head returns an owned message with the fields of m that tell which message it is and for whom: all but the payload, its type, the properties,
// the request and the trace. It shares no memory with m.
func (m *Message) Head() *Message {
	h := m.copy()
	h.Payload, h.ContentType, h.Properties, h.Request, h.Trace, h.Delivery = nil, "", nil, nil, nil, nil
	a := arena{buf: make([]byte, 0, len(m.Topic)+len(m.Source))}
	h.Topic, h.Source = a.string(m.Topic), a.string(m.Source)
	return h
}

// propertySize is the size of a property without its text, which may be empty.
const propertySize = int(unsafe.Sizeof(Property{}))

// Size returns the number of bytes that the message's content occupies, for the limits of queues.
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
