package device

import (
	"context"
	"errors"
	"fmt"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// Handler handles the messages of a subscription. The device calls its handlers one at a time,
// in the order in which the gateway sent the messages. It acknowledges a message of QoS 1
// when the message's handlers have returned. If the connection ends before that, the message arrives
// again. ctx ends when the device closes.
//
// While a handler runs, up to Options.QueueMessages messages wait. When there are more, the device stops reading the
// connection, acks included. A handler that publishes or subscribes and
// waits for the answer must do so with its ctx: see ErrNotAwaited.
type Handler func(ctx context.Context, m Message)

// Subscription is a filter and the handler of its messages.
type Subscription struct {
	Filter string // MQTT's: levels by '/', with '+' and a last '#'; $share/{group}/{filter} shares the messages with others
	QoS    QoS    // the highest QoS that its messages have
	Handle Handler

	// Conflate is for devices that want the current state and not its history. If messages of QoS 0 wait
	// in the gateway because the device is slow, it gets only the newest of each topic.
	Conflate bool
}

func (s *Subscription) check() error {
	if err := topic.ValidateFilter(s.Filter, anyLength); err != nil {
		return fmt.Errorf("device: %w", err)
	}
	if s.Handle == nil {
		return fmt.Errorf("device: subscription %q has no handler", s.Filter)
	}
	return nil
}

// Subscribe makes h the handler of the messages of filter, in place of the filter's former handler.
// It returns when the gateway has acknowledged the subscription, or with a *RefusedError. While there is no connection, it
// waits for one. The subscription lasts until Unsubscribe, over reconnections
// and lost sessions. After an error the former handler, if there was one, is in place again.
//
// A message that several filters match arrives once; the handlers of all of them get it. One that a filter without a group and one with a
// group match may arrive twice.
func (d *Device) Subscribe(ctx context.Context, filter string, qos QoS, h Handler) error {
	return d.SubscribeTo(ctx, Subscription{Filter: filter, QoS: qos, Handle: h})
}

// SubscribeTo is Subscribe with all options of a Subscription.
func (d *Device) SubscribeTo(ctx context.Context, s Subscription) error {
	if err := s.check(); err != nil {
		return err
	}
	undo := d.subs.put(s)
	if err := d.ask(ctx, s.packet()); err != nil {
		undo()
		return err
	}
	d.subs.confirm(s.Filter)
	return nil
}

// packet returns the sub packet, without its id.
func (s *Subscription) packet() *wire.Packet {
	return &wire.Packet{Op: wire.Sub, Filters: []string{s.Filter}, QoS: message.QoS(s.QoS), Conflate: s.Conflate}
}

// Unsubscribe ends the subscription to filter. It returns when the gateway has acknowledged that.
func (d *Device) Unsubscribe(ctx context.Context, filter string) error {
	if err := topic.ValidateFilter(filter, anyLength); err != nil {
		return fmt.Errorf("device: %w", err)
	}
	if err := d.ask(ctx, &wire.Packet{Op: wire.Unsub, Filters: []string{filter}}); err != nil {
		return err
	}
	d.subs.drop(filter)
	return nil
}

// resubscribe subscribes again after the gateway has lost the session.
func (d *Device) resubscribe(l *link) {
	for _, s := range d.subs.confirmed() {
		err := d.askOn(l.ctx, l, s.packet())
		if errors.Is(err, errLost) || l.ctx.Err() != nil {
			return // the next link starts from the beginning
		}
		if err != nil {
			l.log.Error("device: a subscription could not be made again", "filter", s.Filter, "error", err)
		}
	}
	d.bare.Store(false)
}
