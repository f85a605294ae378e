package device

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire"
)

// publish starts a publication with QoS 1 and returns its outcome.
func publish(t *testing.T, d *Device, topic, payload string) <-chan error {
	t.Helper()
	outcome, err := d.PublishAsync(Message{Topic: topic, Payload: []byte(payload), QoS: AtLeastOnce})
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

func TestPublishCarriesAll(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		outcome, err := d.PublishAsync(Message{
			Topic: "a/b", Payload: []byte(`{"x":1}`), ContentType: ContentJSON, QoS: AtLeastOnce, Retain: true,
			Expiry: 1500 * time.Millisecond, Properties: []Property{{"k", "v"}, {"k", "w"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		got := p.next(wire.Pub)
		want := message.Message{
			Topic: "a/b", Payload: []byte(`{"x":1}`), ContentType: message.JSON, QoS: message.AtLeastOnce,
			Retain: true, Properties: []message.Property{{Key: "k", Value: "v"}, {Key: "k", Value: "w"}},
		}
		if !got.Message.Equal(&want) || got.Expiry != 2*time.Second || got.ID == 0 {
			t.Errorf("pub %+v, want %+v expiring after 2 s", got, &want)
		}
		p.ack(got.ID)
		if err := receive(t, outcome); err != nil {
			t.Error(err)
		}
	})
}

func TestPublishAwaitsAck(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		returned := make(chan error, 1)
		go func() { returned <- d.PublishJSON(t.Context(), "a", 1) }()
		pub := p.next(wire.Pub)
		synctest.Wait()
		if len(returned) != 0 {
			t.Fatal("Publish returned before the ack")
		}
		p.ack(pub.ID)
		if err := receive(t, returned); err != nil {
			t.Error(err)
		}
	})
}

func TestPublishRefused(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		outcome := publish(t, d, "a", "1")
		p.refuse(p.next(wire.Pub).ID, "not_authorized", "not yours")
		var refused *RefusedError
		if err := receive(t, outcome); !errors.As(err, &refused) || *refused != (RefusedError{"not_authorized", "not yours"}) {
			t.Errorf("error %v", err)
		}
	})
}

func TestPublishTakesNothingWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, JSON)
		defer g.stop()
		d, p := g.dial(Options{})
		defer g.close(d)
		for name, m := range map[string]Message{
			"wildcard":  {Topic: "a/+"},
			"empty":     {},
			"bad JSON":  {Topic: "a", Payload: []byte("{"), ContentType: ContentJSON},
			"too large": {Topic: "a", Payload: make([]byte, 1<<16)},
		} {
			if err := d.Publish(t.Context(), m); err == nil {
				t.Errorf("%s: no error", name)
			} else if name == "too large" && !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s: %v", name, err)
			}
		}
		p.none()
	})
}

// Publications that were not acknowledged when the connection was cut are sent again, in order, before
// those that were published meanwhile.
func TestPublishAgainAfterCut(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		first := publish(t, d, "a", "1")
		p.ack(p.next(wire.Pub).ID)
		if err := receive(t, first); err != nil {
			t.Fatal(err)
		}
		var outcomes []<-chan error
		for i := 2; i <= 4; i++ {
			outcomes = append(outcomes, publish(t, d, "a", fmt.Sprint(i)))
			p.next(wire.Pub)
		}
		p.cut()
		synctest.Wait()
		outcomes = append(outcomes, publish(t, d, "a", "5"))
		if err := d.Publish(t.Context(), Message{Topic: "a", Payload: []byte("6")}); err != nil {
			t.Fatal(err)
		}
		p = g.accept(true)
		for i := 2; i <= 6; i++ {
			pub := p.next(wire.Pub)
			if got := string(pub.Message.Payload); got != fmt.Sprint(i) {
				t.Fatalf("message %q, want %d", got, i)
			}
			if pub.ID != 0 {
				p.ack(pub.ID)
			}
		}
		for _, outcome := range outcomes {
			if err := receive(t, outcome); err != nil {
				t.Error(err)
			}
		}
		p.none()
	})
}

// A publication that was encoded for a gateway with a larger max_payload fails: to send it would end this
// connection and every later one.
func TestPublishTooLargeForTheNextConnection(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		p.cut()
		synctest.Wait()
		large, small := publish(t, d, "a", strings.Repeat("x", 300)), publish(t, d, "a", "1")
		p = <-g.accepted
		p.send(&wire.Packet{Op: wire.Hello, Hello: wire.Greeting{Session: "s1", Resumed: true, MaxPayload: 200}})
		pub := p.next(wire.Pub)
		if got := string(pub.Message.Payload); got != "1" {
			t.Errorf("sent a message of %d bytes", len(got))
			p.ack(pub.ID)
			pub = p.next(wire.Pub)
		}
		p.ack(pub.ID)
		if err := receive(t, large); !errors.Is(err, ErrTooLarge) {
			t.Errorf("outcome of the large one: %v", err)
		}
		if err := receive(t, small); err != nil {
			t.Errorf("outcome of the small one: %v", err)
		}
	})
}

func TestPublishBufferFull(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{BufferMessages: 2})
		defer g.close(d)
		outcomes := []<-chan error{publish(t, d, "a", "1"), publish(t, d, "a", "2")}
		for _, qos := range []QoS{AtMostOnce, AtLeastOnce} {
			if err := d.Publish(t.Context(), Message{Topic: "a", QoS: qos}); !errors.Is(err, ErrBufferFull) {
				t.Errorf("QoS %d into a full outbox: %v", qos, err)
			}
		}
		for _, outcome := range outcomes {
			p.ack(p.next(wire.Pub).ID)
			if err := receive(t, outcome); err != nil {
				t.Errorf("outcome %v", err)
			}
		}
		if err := d.Publish(t.Context(), Message{Topic: "a"}); err != nil {
			t.Errorf("after the acks: %v", err)
		}
	})
}

func TestOutboxBytes(t *testing.T) {
	now := time.Now()
	b := newOutbox(10, 8)
	o := &outgoing{frame: make([]byte, 8), done: make(chan error, 1)}
	if err := b.add(o, now); err != nil {
		t.Fatal(err)
	}
	b.take(now)
	if err := b.add(&outgoing{frame: make([]byte, 1)}, now); !errors.Is(err, ErrBufferFull) {
		t.Errorf("a 9th byte: %v", err)
	}
	b.written(o, nil)
	if err := b.add(&outgoing{frame: make([]byte, 8)}, now); err != nil || len(o.done) != 1 {
		t.Errorf("after the bytes were written: %v", err)
	}
}

// In a full outbox, expired publications make room, but not those that were sent already.
func TestOutboxExpiredMakesRoom(t *testing.T) {
	now := time.Now()
	b := newOutbox(3, 100)
	var all []*outgoing
	for id := range uint64(3) {
		o := &outgoing{id: id + 1, deadline: now, done: make(chan error, 1)}
		all = append(all, o)
		if err := b.add(o, now); err != nil {
			t.Fatal(err)
		}
	}
	b.take(now)
	if err := b.add(&outgoing{id: 4}, now.Add(1)); err != nil {
		t.Fatal(err)
	}
	if len(all[0].done) != 0 || !errors.Is(<-all[1].done, ErrExpired) || !errors.Is(<-all[2].done, ErrExpired) {
		t.Error("the wrong ones were ended")
	}
	if o := b.take(now); o.id != 4 {
		t.Errorf("next is %d, want 4", o.id)
	}
}

func TestPublishExpiresInOutbox(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		p.cut()
		synctest.Wait()
		outcome, err := d.PublishAsync(Message{Topic: "a", QoS: AtLeastOnce, Expiry: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		kept := publish(t, d, "a", "kept")
		p = <-g.accepted
		time.Sleep(2 * time.Second)
		g.accepted <- p
		p = g.accept(true)
		pub := p.next(wire.Pub)
		if string(pub.Message.Payload) != "kept" {
			t.Errorf("sent %q", pub.Message.Payload)
		}
		p.ack(pub.ID)
		if err := receive(t, outcome); !errors.Is(err, ErrExpired) {
			t.Errorf("outcome %v", err)
		}
		if err := receive(t, kept); err != nil {
			t.Errorf("outcome of the one kept: %v", err)
		}
	})
}

// ctx bounds the wait of Publish; the message stays in the outbox.
func TestPublishContext(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		p.cut()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		err := d.Publish(ctx, Message{Topic: "a/b", QoS: AtLeastOnce})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "a/b") {
			t.Errorf("error %v", err)
		}
		p = g.accept(true)
		p.ack(p.next(wire.Pub).ID)
	})
}
