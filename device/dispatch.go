package device

import (
	"context"
	"errors"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire"
)

// delivery is a message on its way to its handlers.
type delivery struct {
	link   *link // the message came over it, and the ack goes back over it
	packet *wire.Packet
}

// queue adds a message to the handlers' queue. It blocks while the queue is full.
func (d *Device) queue(l *link, p *wire.Packet) error {
	l.blocked.Store(true)
	defer l.blocked.Store(false)
	defer l.hear() // while it waited, the gateway was not silent: the device did not read
	for {
		select { // prefer room to the other cases
		case d.inbox <- delivery{l, p}:
			return nil
		default:
		}
		select {
		case d.inbox <- delivery{l, p}:
			return nil
		case d.full <- struct{}{}:
		case <-l.ctx.Done():
			return context.Cause(l.ctx)
		}
	}
}

// inHandler marks the context of a Handler.
type inHandler struct{}

// dispatch runs the handlers of messages, one after another.
func (d *Device) dispatch() {
	ctx := context.WithValue(d.ctx, inHandler{}, true)
	for {
		select {
		case m := <-d.inbox:
			if d.begin() {
				d.deliver(ctx, m)
				d.handlers.Done()
			}
		case <-d.ctx.Done():
			return
		}
	}
}

func (d *Device) deliver(ctx context.Context, m delivery) {
	handlers := d.subs.match(m.packet.Message.Topic)
	if len(handlers) == 0 {
		d.opts.Logger.Warn("device: no subscription takes the message", "topic", m.packet.Message.Topic)
	}
	for _, h := range handlers {
		h(ctx, received(m.packet))
	}
	if m.packet.Message.QoS != message.AtLeastOnce {
		return
	}
	if err := d.reply(m.link, &wire.Packet{Op: wire.Ack, ID: m.packet.ID}); err != nil && !errors.Is(err, errLost) {
		d.opts.Logger.Error("device: ack", "error", err)
	}
}

// reply sends p over the link that the message or call came over.
func (d *Device) reply(l *link, p *wire.Packet) error {
	frame, err := d.encode(p)
	if err != nil {
		return err
	}
	return l.send(frame)
}

// received returns the message that a msg packet has.
func received(packet *wire.Packet) Message {
	c := &packet.Message
	m := Message{
		ID:          packet.ID,
		Topic:       c.Topic,
		Payload:     c.Payload,
		ContentType: c.ContentType,
		QoS:         QoS(c.QoS),
		Retain:      c.Retain,
		Time:        time.UnixMilli(c.Time),
	}
	for _, p := range c.Properties {
		m.Properties = append(m.Properties, Property(p))
	}
	return m
}
