package device

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/longline/longline/internal/wire"
)

// tokens is a TokenSource of t1, t2, ...; the fail-th fails.
func tokens(fail int) func(context.Context) (string, error) {
	n := 0
	return func(context.Context) (string, error) {
		if n++; n == fail {
			return "", errors.New("no token today")
		}
		return fmt.Sprintf("t%d", n), nil
	}
}

// The device renews a token when a fifth of its lifetime is left, if the gateway says that it
// expires. After a refusal, or a failure of the source, it tries again.
func TestTokenIsRefreshed(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		began := time.Now()
		d := g.expiring(Options{TokenSource: tokens(3)}, 100*time.Second)
		for _, step := range []struct {
			after    time.Duration
			token    string
			code     string
			lifetime time.Duration
		}{
			{80 * time.Second, "t2", "unavailable", 0},
			{90 * time.Second, "t4", "", 10 * time.Second}, // t3 failed, 5 s earlier
			{98 * time.Second, "t5", "", 0},
		} {
			p := d.peer.next(wire.Refresh)
			if p.Token != step.token || time.Since(began) != step.after {
				t.Fatalf("%s after %v, want %s after %v", p.Token, time.Since(began), step.token, step.after)
			}
			ack := &wire.Packet{Op: wire.Ack, ID: p.ID, Lifetime: step.lifetime}
			if step.code != "" {
				ack.Err = wire.Error{Code: step.code, Reason: "no"}
			}
			d.peer.send(ack)
		}
		time.Sleep(time.Hour)
		d.peer.none()
		g.close(d.Device)
	})
}

// Without a source of tokens the device sends no refresh.
func TestTokenIsNotRefreshedWithoutSource(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d := g.expiring(Options{Token: "t"}, time.Second)
		time.Sleep(time.Minute)
		d.peer.none()
		g.close(d.Device)
	})
}

type expiring struct {
	*Device
	peer *peer
}

// expiring dials with a token that expires.
func (g *gateway) expiring(o Options, lifetime time.Duration) expiring {
	g.t.Helper()
	dialled := make(chan *Device, 1)
	go func() {
		d, err := Dial(g.t.Context(), "ws://fake", g.options(o))
		if err != nil {
			g.t.Error(err)
		}
		dialled <- d
	}()
	p := <-g.accepted
	p.send(&wire.Packet{Op: wire.Hello, Lifetime: lifetime, Hello: wire.Greeting{Session: "s1", Heartbeat: 30 * time.Second}})
	return expiring{<-dialled, p}
}
