package device

import (
	"errors"
	"testing"

	"github.com/coder/websocket"

	"github.com/longline/longline/internal/wire"
)

// If the gateway closes connections because of a publication, the device does not send it for ever, and
// neither loses nor reorders the other publications.
func TestOffenceIsFound(t *testing.T) {
	for _, why := range []wire.Close{
		{Code: 1008, Reason: "pub: topic has 17 levels: the limit is 16"},
		{Code: uint16(websocket.StatusMessageTooBig), Reason: "message too big"},
	} {
		world(t, func(t *testing.T, g *gateway) {
			d, p := g.dial(Options{})
			defer g.close(d)
			outcomes := map[string]<-chan error{}
			for _, name := range []string{"a", "bad", "b", "c"} {
				outcomes[name] = publish(t, d, name, "")
			}
			var taken []string
			for connections := 1; len(taken) < 3; {
				pub := p.next(wire.Pub)
				if pub.Message.Topic != "bad" {
					if connections > 1 { // the first closes before it has answered any
						taken = append(taken, pub.Message.Topic)
						p.ack(pub.ID)
					}
					continue
				}
				if connections++; connections > 3 {
					t.Fatal("it came three times")
				}
				_ = p.ws.Close(websocket.StatusCode(why.Code), why.Reason)
				p.drain()
				p = g.accept(true)
			}
			var s *StatusError
			if err := receive(t, outcomes["bad"]); !errors.As(err, &s) || s.Reason != why.Reason {
				t.Errorf("the outcome of the bad one is %v", err)
			}
			for i, name := range []string{"a", "b", "c"} {
				if err := receive(t, outcomes[name]); err != nil || taken[i] != name {
					t.Errorf("%s: %v, taken were %v", name, err, taken)
				}
			}
		})
	}
}

// A connection that is closed for another reason ends no publication.
func TestNoOffence(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		outcome := publish(t, d, "a", "")
		for range 3 {
			p.next(wire.Pub)
			_ = p.ws.Close(websocket.StatusPolicyViolation, wire.CloseRate.Reason)
			p.drain()
			p = g.accept(true)
		}
		p.ack(p.next(wire.Pub).ID)
		if err := receive(t, outcome); err != nil {
			t.Error(err)
		}
	})
}
