package device

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire"
)

// subscribe makes a subscription, which the fake gateway accepts.
func subscribe(t *testing.T, d *Device, p *peer, filter string, h Handler) {
	t.Helper()
	made := make(chan error, 1)
	go func() { made <- d.Subscribe(t.Context(), filter, AtLeastOnce, h) }()
	p.ackSub(filter)
	if err := receive(t, made); err != nil {
		t.Fatal(err)
	}
}

// ackSub acknowledges the next packet, which must subscribe to filter with QoS 1.
func (p *peer) ackSub(filter string) {
	p.t.Helper()
	sub := p.next(wire.Sub)
	if !slices.Equal(sub.Filters, []string{filter}) || sub.QoS != message.AtLeastOnce {
		p.t.Fatalf("sub %v with QoS %d, want %s with 1", sub.Filters, sub.QoS, filter)
	}
	p.ack(sub.ID)
}

// collect returns a handler and the payloads that it gets.
func collect() (Handler, <-chan string) {
	got := make(chan string, 1000)
	return func(_ context.Context, m Message) { got <- m.Topic + "=" + string(m.Payload) }, got
}

func TestSubscribeBringsMessages(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		got := make(chan Message, 1)
		subscribe(t, d, p, "a/+", func(_ context.Context, m Message) { got <- m })
		packet := &wire.Packet{Op: wire.Msg, ID: 7, Message: message.Message{}}
		packet.Message.Topic, packet.Message.Payload = "a/b", []byte("{}")
		packet.Message.ContentType, packet.Message.QoS = message.JSON, message.AtLeastOnce
		packet.Message.Time, packet.Message.Retain = 1700000000123, true
		packet.Message.Properties = []message.Property{{Key: "k", Value: "v"}}
		p.send(packet)
		m := receive(t, got)
		if m.ID != 7 || m.Topic != "a/b" || string(m.Payload) != "{}" || m.ContentType != ContentJSON || m.QoS != AtLeastOnce ||
			!m.Retain || m.Time.UnixMilli() != 1700000000123 || !slices.Equal(m.Properties, []Property{{"k", "v"}}) {
			t.Errorf("message %+v", m)
		}
		if ack := p.next(wire.Ack); ack.ID != 7 {
			t.Errorf("ack of %d, want 7", ack.ID)
		}
	})
}

func TestSubscribeRoutes(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		one, gotOne := collect()
		all, gotAll := collect()
		subscribe(t, d, p, "a/+", one)
		subscribe(t, d, p, "#", all)
		p.publish(0, "a/b", "1")
		p.publish(0, "c", "2")
		for _, want := range []string{"a/b=1", "c=2"} {
			if s := receive(t, gotAll); s != want {
				t.Errorf("#: %s, want %s", s, want)
			}
		}
		if s := receive(t, gotOne); s != "a/b=1" || len(gotOne) != 0 {
			t.Errorf("a/+: %s and %d more", s, len(gotOne))
		}
		p.none()
	})
}

// A message of a shared subscription comes under its topic, which the filter behind the group matches. Without a handler it would be
// acknowledged and lost.
func TestSharedSubscription(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		h, got := collect()
		subscribe(t, d, p, "$share/pool/a/+", h)
		p.publish(1, "a/b", "1")
		if s := receive(t, got); s != "a/b=1" {
			t.Errorf("%s, want a/b=1", s)
		}
		if ack := p.next(wire.Ack); ack.ID != 1 {
			t.Errorf("ack of %d, want 1", ack.ID)
		}
	})
}

func TestSubscribeRefused(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		h, got := collect()
		made := make(chan error, 1)
		go func() { made <- d.Subscribe(t.Context(), "a", AtLeastOnce, h) }()
		p.refuse(p.next(wire.Sub).ID, "not_authorized", "no")
		var refused *RefusedError
		if err := receive(t, made); !errors.As(err, &refused) || refused.Code != "not_authorized" {
			t.Errorf("error %v", err)
		}
		p.publish(0, "a", "1")
		synctest.Wait()
		if len(got) != 0 {
			t.Error("a refused subscription took a message")
		}
	})
}

// If subscribing to a filter again fails, its former handler stays: the gateway
// still sends the messages, and without a handler they would be acknowledged and lost.
func TestSubscribeAnewFails(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		former, got := collect()
		subscribe(t, d, p, "a", former)
		h, _ := collect()
		made := make(chan error, 1)
		ask := func(ctx context.Context) { made <- d.Subscribe(ctx, "a", AtLeastOnce, h) }

		go ask(t.Context())
		p.refuse(p.next(wire.Sub).ID, "not_allowed", "no")
		var refused *RefusedError
		if err := receive(t, made); !errors.As(err, &refused) {
			t.Errorf("error %v, want a refusal", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go ask(ctx)
		p.next(wire.Sub)
		cancel()
		if err := receive(t, made); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want that of the context", err)
		}
		p.publish(1, "a", "1")
		if s := receive(t, got); s != "a=1" {
			t.Errorf("%s, want a=1", s)
		}
		if ack := p.next(wire.Ack); ack.ID != 1 {
			t.Errorf("ack of %d, want 1", ack.ID)
		}
	})
}

// If the connection was cut before the ack of a sub arrived, the device sends the sub again on the next one.
func TestSubscribeOverCut(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		h, _ := collect()
		made := make(chan error, 1)
		go func() { made <- d.Subscribe(t.Context(), "a", AtLeastOnce, h) }()
		p.next(wire.Sub)
		p.cut()
		p = g.accept(true)
		p.ackSub("a")
		if err := receive(t, made); err != nil {
			t.Error(err)
		}
		p.none()
	})
}

func TestSubscribeContext(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		p.cut()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		defer cancel()
		h, _ := collect()
		if err := d.Subscribe(ctx, "a", AtLeastOnce, h); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

func TestResubscribeUnlessResumed(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		h, got := collect()
		for _, filter := range []string{"a", "b", "gone"} {
			subscribe(t, d, p, filter, h)
		}
		ended := make(chan error, 1)
		go func() { ended <- d.Unsubscribe(t.Context(), "gone") }()
		p.ack(p.next(wire.Unsub).ID)
		if err := receive(t, ended); err != nil {
			t.Fatal(err)
		}
		p.cut()

		p = g.accept(true)
		p.none()
		p.cut()

		p = g.accept(false)
		p.ackSub("a")
		p.cut() // b is missing yet, though the next session is that of a

		p = g.accept(true)
		p.ackSub("a")
		p.ackSub("b")
		p.publish(0, "b", "1")
		if s := receive(t, got); s != "b=1" {
			t.Errorf("message %s", s)
		}
		p.none()
		p.cut()

		p = g.accept(true)
		p.none()
	})
}

// The handlers of Options.Subscriptions are in place before the first message of a resumed session.
func TestSubscriptionsOfOptions(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		h, got := collect()
		type result struct {
			d   *Device
			err error
		}
		dialled := make(chan result, 1)
		go func() {
			d, err := Dial(t.Context(), "ws://fake", g.options(Options{Subscriptions: []Subscription{{Filter: "a", QoS: AtLeastOnce, Handle: h, Conflate: true}}}))
			dialled <- result{d, err}
		}()
		p := g.accept(true)
		p.publish(0, "a", "early")
		if s := receive(t, got); s != "a=early" {
			t.Errorf("message %s", s)
		}
		sub := p.next(wire.Sub)
		if !sub.Conflate || sub.QoS != message.AtLeastOnce {
			t.Errorf("the gateway is asked for %+v", sub)
		}
		if len(dialled) != 0 {
			t.Error("Dial returned before its subscriptions were acknowledged")
		}
		p.ack(sub.ID)
		r := receive(t, dialled)
		if r.err != nil {
			t.Fatal(r.err)
		}
		g.close(r.d)
	})
}

func TestAckAfterHandlers(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		release := make(chan struct{})
		subscribe(t, d, p, "a", func(context.Context, Message) { <-release })
		p.publish(1, "a", "")
		p.none()
		close(release)
		if ack := p.next(wire.Ack); ack.ID != 1 {
			t.Errorf("ack of %d", ack.ID)
		}
	})
}

// While a handler is slow, the device stops reading, but the connection stays alive.
func TestSlowHandlerPushesBack(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{QueueMessages: 2})
		defer g.close(d)
		release := make(chan struct{})
		var got []string
		subscribe(t, d, p, "a", func(_ context.Context, m Message) { <-release; got = append(got, string(m.Payload)) })
		p.muted.Store(true) // a pipe has no buffer: its pong would wait behind the messages
		const n = 10
		sent := make(chan int, n)
		go func() {
			for i := range n {
				p.publish(uint64(i+1), "a", fmt.Sprint(i))
				sent <- i
			}
		}()
		time.Sleep(10 * time.Minute) // of the bubble's clock
		if len(sent) > 6 {           // one handled, two queued, one read, one or two in buffers
			t.Errorf("%d messages were taken while the handler slept", len(sent))
		}
		if pings := p.pings.Load(); pings < 10 { // less than a minute apart
			t.Errorf("%d pings in ten minutes; the gateway would have closed", pings)
		}
		close(release)
		for i := range n {
			if ack := p.next(wire.Ack); ack.ID != uint64(i+1) {
				t.Fatalf("ack of %d, want %d", ack.ID, i+1)
			}
		}
		if want := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}; !slices.Equal(got, want) {
			t.Errorf("order %v", got)
		}
	})
}

// A handler that waits for an ack which is behind messages for the same handler gets ErrNotAwaited.
func TestHandlerDoesNotAwaitItself(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{QueueMessages: 1})
		defer g.close(d)
		outcome := make(chan error, 10)
		subscribe(t, d, p, "a", func(ctx context.Context, m Message) {
			outcome <- d.Publish(ctx, Message{Topic: "b", Payload: m.Payload, QoS: AtLeastOnce})
		})
		p.publish(0, "a", "1")
		first := p.next(wire.Pub)
		p.publish(0, "a", "2")
		p.publish(0, "a", "3")
		if err := receive(t, outcome); !errors.Is(err, ErrNotAwaited) {
			t.Errorf("error %v", err)
		}
		p.ack(first.ID)
		for range 2 {
			p.ack(p.next(wire.Pub).ID)
			if err := receive(t, outcome); err != nil {
				t.Errorf("with room in the queue: %v", err)
			}
		}
	})
}
