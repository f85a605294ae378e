package device

import (
	"context"
	"errors"
	"fmt"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// Handler takes the messages of a subscription, one at a time over all subscriptions of the
// device, in the order in which the gateway sent them. A message of QoS 1 is acknowledged
// when its handlers have returned; one whose handler the connection did not outlive comes
// again. ctx ends when the device closes.
//
// While a handler takes its time, messages queue up to Options.QueueMessages; then the
// gateway is no longer read, acks included. A handler that publishes or subscribes and
// awaits the answer must do so with its ctx: see ErrNotAwaited.
type Handler func(ctx context.Context, m Message)

// Subscription is a filter and who takes its messages.
type Subscription struct {
	Filter string // MQTT's: levels by '/', with '+' and a last '#'
	QoS    QoS    // at most which messages come
	Handle Handler

	// Conflate is for who wants the state and not its history: of the messages of QoS 0 on one
	// topic that wait in the gateway because the device is slow, only the newest comes.
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

// Subscribe brings the messages of filter to h, in place of the filter's former handler.
// It returns when the gateway has acknowledged it, or with a *RefusedError; while away it
// waits for the connection. The subscription holds until Unsubscribe, over reconnections
// and lost sessions. After an error the former handler, if there was one, is in place again.
//
// A message that several filters match comes once, and goes to the handlers of all.
func (d *Device) Subscribe(ctx context.Context, filter string, qos QoS, h Handler) error {
	return d.SubscribeTo(ctx, Subscription{Filter: filter, QoS: qos, Handle: h})
}

// SubscribeTo is Subscribe with all that a Subscription can say.
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

// packet is the sub packet, without its ID.
func (s *Subscription) packet() *wire.Packet {
	return &wire.Packet{Op: wire.Sub, Filters: []string{s.Filter}, QoS: message.QoS(s.QoS), Conflate: s.Conflate}
}

// Unsubscribe ends the subscription to filter when the gateway has acknowledged it.
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

// resubscribe makes the subscriptions again that a lost session had.
func (d *Device) resubscribe(l *link) {
	for _, s := range d.subs.confirmed() {
		err := d.askOn(l.ctx, l, s.packet())
		if errors.Is(err, errLost) || l.ctx.Err() != nil {
			return // the next link starts over
		}
		if err != nil {
			l.log.Error("device: a subscription could not be made again", "filter", s.Filter, "error", err)
		}
	}
	d.bare.Store(false)
}
