package device

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/wire"
)

// outcome is what a Call returned.
type outcome struct {
	reply Reply
	err   error
}

// calling runs a call, and returns where its outcome comes.
func calling(call func() (Reply, error)) <-chan outcome {
	c := make(chan outcome, 1)
	go func() {
		r, err := call()
		c <- outcome{r, err}
	}()
	return c
}

func TestCallService(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		first := calling(func() (Reply, error) { return d.Call(ctx, "billing", "authorize", map[string]int{"card": 7}) })
		one := p.next(wire.Call)
		second := calling(func() (Reply, error) { return d.Call(t.Context(), "images", "resize", []byte("\xff\xd8")) })
		two := p.next(wire.Call)
		if one.Service != "billing" || one.Method != "authorize" || string(one.Payload) != `{"card":7}` || one.ContentType != ContentJSON || one.Timeout != 5*time.Second {
			t.Errorf("%+v", one)
		}
		if string(two.Payload) != "\xff\xd8" || two.ContentType != "" || two.Timeout != 0 || two.ID == one.ID {
			t.Errorf("%+v", two)
		}
		p.send(&wire.Packet{Op: wire.Reply, ID: two.ID, Err: wire.Error{Code: "busy", Reason: "later"}})
		p.send(&wire.Packet{Op: wire.Reply, ID: two.ID, Payload: []byte("twice")})
		p.send(&wire.Packet{Op: wire.Reply, ID: one.ID, Payload: []byte(`{"ok":true}`), ContentType: ContentJSON})
		if o := receive(t, first); o.err != nil || string(o.reply.Payload) != `{"ok":true}` || o.reply.ContentType != ContentJSON {
			t.Errorf("%+v", o)
		}
		var refused *RefusedError
		if o := receive(t, second); !errors.As(o.err, &refused) || *refused != (RefusedError{"busy", "later"}) {
			t.Errorf("%+v", o)
		}
		for _, c := range []struct {
			service string
			payload any
			want    string
		}{
			{"", nil, "no service"},
			{"s", make(chan int), "unsupported type"},
			{"s", make([]byte, 1<<16), ErrTooLarge.Error()},
		} {
			if _, err := d.Call(t.Context(), c.service, "m", c.payload); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q: %v, want %q", c.service, err, c.want)
			}
		}
		p.none()
	})
}

// A call whose connection ends is not sent again, unless it may be done twice.
func TestCallServiceOverReconnects(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		once := calling(func() (Reply, error) { return d.Call(t.Context(), "billing", "pay", nil) })
		p.next(wire.Call)
		twice := calling(func() (Reply, error) { return d.CallIdempotent(t.Context(), "grid", "get", nil) })
		p.next(wire.Call)
		p.cut()
		if o := receive(t, once); !errors.Is(o.err, ErrAnswerUnknown) {
			t.Errorf("%+v", o)
		}
		away := calling(func() (Reply, error) { return d.Call(t.Context(), "grid", "put", nil) }) // waits for the next connection
		p = g.accept(true)
		for range 2 {
			c := p.next(wire.Call)
			p.send(&wire.Packet{Op: wire.Reply, ID: c.ID, Payload: []byte(c.Method)})
		}
		for method, c := range map[string]<-chan outcome{"get": twice, "put": away} {
			if o := receive(t, c); o.err != nil || string(o.reply.Payload) != method {
				t.Errorf("%s: %+v", method, o)
			}
		}
		p.none()
	})
}

func TestCallServiceEnds(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		late := calling(func() (Reply, error) { return d.Call(ctx, "s", "m", nil) })
		c := p.next(wire.Call)
		if o := receive(t, late); !errors.Is(o.err, context.DeadlineExceeded) || !errors.Is(o.err, ErrAnswerUnknown) {
			t.Errorf("%+v", o)
		}
		p.send(&wire.Packet{Op: wire.Reply, ID: c.ID}) // nobody waits
		closed := calling(func() (Reply, error) { return d.CallIdempotent(t.Context(), "s", "m", nil) })
		p.next(wire.Call)
		g.close(d)
		if o := receive(t, closed); !errors.Is(o.err, ErrClosed) {
			t.Errorf("%+v", o)
		}
		if _, err := d.Call(t.Context(), "s", "m", nil); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}
