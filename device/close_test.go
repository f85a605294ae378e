package device

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/longline/longline/internal/wire"
)

// Close waits for handlers and their acks, then for the outbox, then closes with 1000. The end of each bubble asserts that
// no goroutine is left.
func TestCloseInOrder(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		release := make(chan struct{})
		subscribe(t, d, p, "a", func(context.Context, Message) { <-release })
		p.publish(1, "a", "")
		synctest.Wait()
		pending := publish(t, d, "b", "1")
		pub := p.next(wire.Pub)
		closed := make(chan error, 1)
		go func() { closed <- d.Close(t.Context()) }()
		synctest.Wait()
		p.publish(2, "a", "not begun any more")
		d.HandleCall("m", func(context.Context, Call) (any, error) { return nil, nil })
		p.call(3, "m", "null")
		if r := p.next(wire.Reply); r.Err.Code != "closing" {
			t.Errorf("reply %+v", r.Err)
		}
		close(release)
		if ack := p.next(wire.Ack); ack.ID != 1 {
			t.Errorf("ack of %d", ack.ID)
		}
		p.none()
		if len(closed) != 0 {
			t.Fatal("closed before the publication was acknowledged")
		}
		p.ack(pub.ID)
		if err := receive(t, pending); err != nil {
			t.Error(err)
		}
		if err := receive(t, closed); err != nil {
			t.Error(err)
		}
		p.drain()
		if code := websocket.CloseStatus(p.ended); code != websocket.StatusNormalClosure {
			t.Errorf("the connection ended with %v", p.ended)
		}
		if _, err := d.PublishAsync(Message{Topic: "a"}); !errors.Is(err, ErrClosed) {
			t.Errorf("publication after Close: %v", err)
		}
		g.close(d)
	})
}

func TestCloseCutShort(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		pending := publish(t, d, "a", "1")
		p.next(wire.Pub)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v", err)
		}
		if err := receive(t, pending); !errors.Is(err, ErrClosed) {
			t.Errorf("the publication: %v", err)
		}
	})
}

func TestCloseAwaitsConnection(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		p.cut()
		synctest.Wait()
		pending := publish(t, d, "a", "1")
		closed := make(chan error, 1)
		go func() { closed <- d.Close(t.Context()) }()
		p = g.accept(true)
		p.ack(p.next(wire.Pub).ID)
		if err := errors.Join(receive(t, pending), receive(t, closed)); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseWhileAway(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		p.cut()
		synctest.Wait()
		started := time.Now()
		g.close(d)
		if took := time.Since(started); took != 0 {
			t.Errorf("Close with nothing to send took %v", took)
		}
	})
}

// A message that was published with QoS 0 just before Close is sent before the close frame.
func TestCloseFlushesQoS0(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		for range 5 {
			if err := d.Publish(t.Context(), Message{Topic: "a"}); err != nil {
				t.Fatal(err)
			}
		}
		g.close(d)
		for range 5 {
			p.next(wire.Pub)
		}
		p.drain()
	})
}
