package device

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/wire"
)

func (p *peer) call(id uint64, method, payload string) {
	p.t.Helper()
	p.send(&wire.Packet{Op: wire.Call, ID: id, Method: method, Payload: []byte(payload),
		ContentType: ContentJSON, Timeout: 5 * time.Second})
}

func TestCalls(t *testing.T) {
	handlers := map[string]CallHandler{
		"echo":   func(_ context.Context, c Call) (any, error) { return c.Payload, nil },
		"json":   func(context.Context, Call) (any, error) { return map[string]int{"n": 1}, nil },
		"none":   func(context.Context, Call) (any, error) { return nil, nil },
		"fail":   func(context.Context, Call) (any, error) { return nil, errors.New("no fuel") },
		"refuse": func(context.Context, Call) (any, error) { return nil, &RefusedError{"locked", "by hand"} },
		"broken": func(context.Context, Call) (any, error) { return make(chan int), nil },
		"large":  func(context.Context, Call) (any, error) { return make([]byte, 1<<17), nil },
	}
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{Calls: handlers})
		defer g.close(d)
		for i, tt := range []struct{ method, payload, contentType, code, reason string }{
			{"echo", `[1]`, "", "", ""},
			{"json", `{"n":1}`, ContentJSON, "", ""},
			{"none", ``, "", "", ""},
			{"fail", ``, "", "failed", "no fuel"},
			{"refuse", ``, "", "locked", "by hand"},
			{"broken", ``, "", "failed", "json: unsupported type: chan int"},
			{"large", ``, "", "failed", "*"},
			{"what", ``, "", "unknown_method", `the device has no method "what"`},
		} {
			id := uint64(i + 1)
			p.call(id, tt.method, `[1]`)
			r := p.next(wire.Reply)
			if tt.reason == "*" {
				tt.reason = r.Err.Reason
			}
			if r.ID != id || string(r.Payload) != tt.payload || r.ContentType != tt.contentType ||
				r.Err != (wire.Error{Code: tt.code, Reason: tt.reason}) {
				t.Errorf("%s: reply %d %q %q %+v", tt.method, r.ID, r.Payload, r.ContentType, r.Err)
			}
		}
	})
}

func TestCallAnyMethod(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		d.HandleCall(AnyMethod, func(_ context.Context, c Call) (any, error) { return "any " + c.Method, nil })
		d.HandleCall("own", func(context.Context, Call) (any, error) { return "own", nil })
		for method, want := range map[string]string{"own": `"own"`, "other": `"any other"`} {
			p.call(1, method, "null")
			if r := p.next(wire.Reply); string(r.Payload) != want {
				t.Errorf("%s: %s, want %s", method, r.Payload, want)
			}
		}
	})
}

func TestCallTimeout(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		d.HandleCall("slow", func(ctx context.Context, _ Call) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		started := time.Now()
		p.call(1, "slow", "null")
		r := p.next(wire.Reply)
		if took := time.Since(started); r.Err.Code != "failed" || took != 5*time.Second {
			t.Errorf("reply %+v after %v", r.Err, took)
		}
	})
}

// Calls run concurrently, up to MaxCalls. Slow ones delay neither other calls nor messages.
func TestCallsBounded(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{MaxCalls: 2})
		defer g.close(d)
		release := make(chan struct{})
		d.HandleCall("slow", func(context.Context, Call) (any, error) { <-release; return nil, nil })
		h, got := collect()
		subscribe(t, d, p, "a", h)
		p.call(1, "slow", "null")
		p.call(2, "slow", "null")
		p.none()
		p.call(3, "slow", "null")
		if r := p.next(wire.Reply); r.ID != 3 || r.Err.Code != "busy" {
			t.Errorf("reply %+v", r)
		}
		p.publish(0, "a", "1")
		receive(t, got)
		close(release)
		if sum := p.next(wire.Reply).ID + p.next(wire.Reply).ID; sum != 3 {
			t.Errorf("the replies are of ids that add up to %d", sum)
		}
		synctest.Wait()
		p.call(4, "slow", "null")
		if r := p.next(wire.Reply); r.Err.Code != "" {
			t.Errorf("after the others: %+v", r.Err)
		}
	})
}
