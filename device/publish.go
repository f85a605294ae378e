package device

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// QoS is the delivery guarantee of a message, as MQTT names it.
type QoS uint8

const (
	AtMostOnce  QoS = 0 // may be lost
	AtLeastOnce QoS = 1 // kept until acknowledged or expired; may arrive twice
)

// ContentJSON is the content type of a payload that is one JSON value.
const ContentJSON = message.JSON

// Property is one user property of a message. Keys may repeat; order is kept.
type Property struct{ Key, Value string }

// Message is a message that the device publishes, or gets through a subscription.
type Message struct {
	Topic       string
	Payload     []byte
	ContentType string // a media type; ContentJSON promises valid JSON; empty means bytes of unknown type
	QoS         QoS
	Retain      bool // published: the gateway keeps the message for later subscribers; received: it was kept
	Properties  []Property

	// Expiry is how long a published message may wait, first in the outbox for a connection,
	// then at the gateway for its receivers, in whole seconds, rounded up. 0 means no limit.
	Expiry time.Duration
	// ID is the gateway's number of a received message of QoS 1. A message that arrives again has the same
	// ID: a device that must not do things twice remembers the IDs that it has processed.
	ID uint64
	// Time is when the gateway took a received message.
	Time time.Time
}

// Publish publishes m. With QoS 1 it returns when the gateway has acknowledged m, or with
// a *RefusedError. With QoS 0 it returns when m is in the outbox. The caller may then use m's slices again.
// A *StatusError says that the gateway closed connections because m breaks one of its rules.
//
// ctx bounds the wait, not the message: if ctx ends first, or the error is ErrNotAwaited,
// m stays in the outbox and is still sent.
//
// ErrBufferFull, ErrTooLarge, ErrClosed and errors about the topic or payload mean that
// m is not in the outbox.
func (d *Device) Publish(ctx context.Context, m Message) error {
	outcome, err := d.PublishAsync(m)
	if err != nil || m.QoS == AtMostOnce {
		return err
	}
	return d.await(ctx, m.Topic, outcome, nil)
}

// PublishJSON publishes v, encoded as JSON, with QoS 1.
func (d *Device) PublishJSON(ctx context.Context, topic string, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("device: %q: %w", topic, err)
	}
	return d.Publish(ctx, Message{Topic: topic, Payload: payload, ContentType: ContentJSON, QoS: AtLeastOnce})
}

// PublishAsync adds m to the outbox and returns at once. The channel gets the outcome once:
// nil if m was acknowledged (QoS 1) or written (QoS 0), or why it was not.
func (d *Device) PublishAsync(m Message) (<-chan error, error) {
	if err := topic.ValidateName(m.Topic, anyLength); err != nil {
		return nil, fmt.Errorf("device: %w", err)
	}
	if m.ContentType == ContentJSON && !json.Valid(m.Payload) {
		return nil, fmt.Errorf("device: %q: the payload is not valid JSON", m.Topic)
	}
	p := m.packet()
	if m.QoS != AtMostOnce {
		p.ID = d.lastID.Add(1)
	}
	frame, err := d.encode(p)
	if err != nil {
		return nil, err
	}
	o := &outgoing{id: p.ID, frame: frame, done: make(chan error, 1)}
	if m.Expiry > 0 {
		o.deadline = time.Now().Add(m.Expiry)
	}
	if err := d.outbox.add(o, time.Now()); err != nil {
		return nil, err
	}
	return o.done, nil
}

// anyLength does not bound topics: the gateway does.
var anyLength = topic.Limits{Depth: 1 << 16, Length: 1<<16 - 1}

// packet returns the pub packet of m, without an id.
func (m *Message) packet() *wire.Packet {
	p := &wire.Packet{Op: wire.Pub, Expiry: (m.Expiry + time.Second - 1).Truncate(time.Second)}
	c := &p.Message
	c.Topic, c.Payload, c.ContentType = m.Topic, m.Payload, m.ContentType
	c.QoS, c.Retain = message.QoS(m.QoS), m.Retain
	for _, prop := range m.Properties {
		c.Properties = append(c.Properties, message.Property(prop))
	}
	return p
}

// write sends the publications in the outbox until the link ends. After a failed write it leaves it to the
// reader to say why the link ended.
func (d *Device) write(l *link) {
	for {
		o := d.outbox.take(time.Now())
		if o == nil {
			select {
			case <-d.outbox.ready:
				continue
			case <-l.ctx.Done():
				return
			}
		}
		if err := d.fits(o.frame); err != nil { // it was encoded for a gateway that accepted more
			d.outbox.end(err, func(q *outgoing) bool { return q == o })
			continue
		}
		err := l.send(o.frame)
		d.outbox.written(o, err)
		if err != nil {
			l.log.Debug("device: write", "error", err)
			return
		}
	}
}
