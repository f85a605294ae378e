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

// again sends a call that was sent before.
func (p *peer) again(id uint64, method string) {
	p.t.Helper()
	p.send(&wire.Packet{Op: wire.Call, ID: id, Method: method, Again: true})
}

// A call that comes again, on a later connection, gets the answer that it got, also if the handler still runs, and no handler
// runs twice.
func TestCallAgain(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		ran := make(map[uint64]int)
		var release chan struct{}
		d, p := g.dial(Options{})
		defer g.close(d)
		d.HandleCall("m", func(_ context.Context, c Call) (any, error) {
			ran[c.ID]++
			if release != nil {
				<-release
			}
			if c.ID == 2 {
				return nil, &RefusedError{"locked", "by hand"}
			}
			return []byte{byte('0' + ran[c.ID])}, nil
		})
		want := func(id uint64, payload, code string) {
			t.Helper()
			if r := p.next(wire.Reply); r.ID != id || string(r.Payload) != payload || r.Err.Code != code {
				t.Errorf("reply %d %q %+v, want %d %q %q", r.ID, r.Payload, r.Err, id, payload, code)
			}
		}
		p.call(1, "m", "null")
		want(1, "1", "")
		p.call(2, "m", "null")
		want(2, "", "locked")
		release = make(chan struct{})
		p.call(3, "m", "null")
		synctest.Wait()
		_ = p.ws.CloseNow()
		p = g.accept(true)
		p.again(1, "m")
		want(1, "1", "")
		p.again(2, "m")
		want(2, "", "locked")
		p.again(3, "m")
		p.none()
		close(release)
		want(3, "1", "")
		p.again(3, "m")
		want(3, "1", "")
		p.again(4, "m") // the device never got it
		want(4, "1", "")
		p.call(1, "m", "null") // another call
		want(1, "2", "")
		p.again(5, "what")
		want(5, "", "unknown_method")
		p.again(5, "what")
		want(5, "", "unknown_method")
	})
}

func TestAnswersAreBounded(t *testing.T) {
	var a answers
	answer := func(id uint64, size int) {
		t.Helper()
		if _, fresh := a.begin(nil, &wire.Packet{ID: id}); !fresh {
			t.Errorf("%d is known", id)
		}
		a.end(&wire.Packet{ID: id, Payload: make([]byte, size)})
	}
	for id := range uint64(2 * maxAnswers) {
		answer(id+1, 1)
	}
	if len(a.calls) != maxAnswers || len(a.line) != maxAnswers || a.bytes != maxAnswers {
		t.Errorf("%d calls, %d in line, %d bytes", len(a.calls), len(a.line), a.bytes)
	}
	answer(1, maxAnswerBytes)
	if len(a.calls) != 1 || a.bytes != maxAnswerBytes {
		t.Errorf("%d calls, %d bytes", len(a.calls), a.bytes)
	}
	answer(2, maxAnswerBytes+1)
	if len(a.calls) != 0 || len(a.line) != 0 || a.bytes != 0 {
		t.Errorf("%d calls, %d in line, %d bytes", len(a.calls), len(a.line), a.bytes)
	}
}
