package device

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire"
)

// bubble runs test with the JSON protocol only.
func bubble(t *testing.T, test func(t *testing.T, g *gateway)) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, JSON)
		defer g.stop()
		test(t, g)
	})
}

func TestStatesInOrder(t *testing.T) {
	world(t, func(t *testing.T, g *gateway) {
		var states []State
		d, p := g.dial(Options{OnState: func(s State) { states = append(states, s) }})
		if s := d.State(); s.Phase != Connected || s.Session != "s1" {
			t.Errorf("after Dial: %+v", s)
		}
		p.ws.Close(websocket.StatusCode(wire.CloseRestart.Code), "drained; retry after 12s")
		p = <-g.accepted
		p.send(&wire.Packet{Op: wire.Hello, Hello: wire.Greeting{Session: "s1", Resumed: true, Missed: 3}})
		synctest.Wait()
		g.close(d)
		var phases []Phase
		for _, s := range states {
			phases = append(phases, s.Phase)
		}
		if want := []Phase{Connecting, Connected, Disconnected, Connecting, Connected, Closed}; !slices.Equal(phases, want) {
			t.Fatalf("phases %v, want %v", phases, want)
		}
		var status *StatusError
		if s := states[2]; !errors.As(s.Err, &status) || status.Code != 1012 || s.Wait < 12*time.Second || s.Wait > 14*time.Second {
			t.Errorf("disconnected: %+v", s)
		}
		if s := states[4]; !s.Resumed || s.Missed != 3 {
			t.Errorf("resumed: %+v", s)
		}
		if s := states[5]; !errors.Is(s.Err, ErrClosed) || d.State() != s {
			t.Errorf("closed: %+v", s)
		}
	})
}

func TestDialFailsAtOnce(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404} {
		bubble(t, func(t *testing.T, g *gateway) {
			g.refuse = func(w http.ResponseWriter) bool {
				http.Error(w, "not you", status)
				return true
			}
			started := time.Now()
			_, err := Dial(t.Context(), "ws://fake", g.options(Options{}))
			var s *StatusError
			if !errors.As(err, &s) || s.Code != status || s.Reason != "not you" || time.Since(started) != 0 {
				t.Errorf("%d: %v after %v", status, err, time.Since(started))
			}
		})
	}
}

func TestDialRetries(t *testing.T) {
	bubble(t, func(t *testing.T, g *gateway) {
		tries := 0
		g.refuse = func(w http.ResponseWriter) bool {
			if tries++; tries > 2 {
				return false
			}
			w.Header().Set("Retry-After", "60")
			http.Error(w, "full", http.StatusServiceUnavailable)
			return true
		}
		started := time.Now()
		d, _ := g.dial(Options{})
		defer g.close(d)
		if took := time.Since(started); took < 2*time.Minute || took > 124*time.Second {
			t.Errorf("connected after %v, want two waits of 60-62 s", took)
		}
	})
}

func TestDialGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T, g *gateway) {
		tries := 0
		g.refuse = func(w http.ResponseWriter) bool {
			tries++
			http.Error(w, "down", http.StatusBadGateway)
			return true
		}
		_, err := Dial(t.Context(), "ws://fake", g.options(Options{Reconnect: Reconnect{MaxTries: 3}}))
		var s *StatusError
		if !errors.As(err, &s) || s.Code != 502 || tries != 4 {
			t.Errorf("%v after %d attempts, want the first and 3 more", err, tries)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		started := time.Now()
		_, err = Dial(ctx, "ws://fake", g.options(Options{Reconnect: Reconnect{MaxTries: -1}}))
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "502") || time.Since(started) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(started))
		}
	})
}

// After it was connected once, the device tries again after a refusal that would make Dial fail, and gives up
// only when its tries are used up.
func TestGivesUpAfterTries(t *testing.T) {
	bubble(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{Reconnect: Reconnect{MaxTries: 3}})
		tries := 0
		g.refuse = func(w http.ResponseWriter) bool {
			tries++
			http.Error(w, "no", http.StatusUnauthorized)
			return true
		}
		pending := publish(t, d, "a", "1")
		p.next(wire.Pub)
		p.cut()
		<-d.Done()
		var s *StatusError
		if !errors.As(d.Err(), &s) || s.Code != 401 || tries != 3 {
			t.Errorf("%v after %d tries, want 3", d.Err(), tries)
		}
		if err := receive(t, pending); !errors.Is(err, ErrClosed) || !errors.As(err, &s) {
			t.Errorf("the pending publication: %v", err)
		}
		if err := d.Publish(t.Context(), Message{Topic: "a"}); !errors.Is(err, ErrClosed) {
			t.Errorf("a later one: %v", err)
		}
		h, _ := collect()
		if err := d.Subscribe(t.Context(), "a", AtMostOnce, h); !errors.Is(err, ErrClosed) {
			t.Errorf("a later subscription: %v", err)
		}
		g.close(d)
	})
}

// Connections that end at once use up the tries; one that lasted starts the count again.
func TestTriesStartAgain(t *testing.T) {
	bubble(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{Reconnect: Reconnect{MaxTries: 2}})
		for range 2 {
			p.cut()
			p = g.accept(true)
		}
		time.Sleep(time.Minute)
		for range 2 {
			p.cut()
			p = g.accept(true)
		}
		p.cut()
		<-d.Done()
		if !errors.Is(d.Err(), errLost) {
			t.Errorf("ended by %v", d.Err())
		}
		g.close(d)
	})
}

func TestFinalCloses(t *testing.T) {
	for _, c := range []*wire.Close{wire.CloseNormal, wire.CloseTakenOver} {
		bubble(t, func(t *testing.T, g *gateway) {
			d, p := g.dial(Options{Reconnect: Reconnect{MaxTries: -1}})
			p.ws.Close(websocket.StatusCode(c.Code), c.Reason)
			<-d.Done()
			var status *StatusError
			if s := d.State(); s.Phase != Closed || !errors.As(s.Err, &status) || status.Code != int(c.Code) {
				t.Errorf("state %+v", s)
			}
			g.close(d)
		})
	}
}

// The device gives up a connection on which the gateway neither sends nor answers pings for twice its heartbeat.
func TestSilentGateway(t *testing.T) {
	bubble(t, func(t *testing.T, g *gateway) {
		ended := make(chan error, 1)
		d, p := g.dial(Options{OnState: func(s State) {
			if s.Phase == Disconnected {
				ended <- s.Err
			}
		}})
		defer g.close(d)
		time.Sleep(time.Hour) // the fake answers pings: nothing happens
		if len(ended) != 0 {
			t.Fatalf("an answering gateway was given up: %v", <-ended)
		}
		p.muted.Store(true)
		started := time.Now()
		err := receive(t, ended)
		if took := time.Since(started); !errors.Is(err, ErrSilent) || took > 60*time.Second || took < 30*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		g.accept(true)
	})
}

func TestContractBroken(t *testing.T) {
	bubble(t, func(t *testing.T, g *gateway) {
		d, p := g.dial(Options{})
		defer g.close(d)
		if err := p.ws.Write(t.Context(), websocket.MessageText, []byte("{")); err != nil {
			t.Fatal(err)
		}
		p.drain()
		if code := websocket.CloseStatus(p.ended); code != websocket.StatusCode(wire.CloseMalformed.Code) {
			t.Errorf("the device closed with %v", p.ended)
		}
		p = g.accept(true)
		p.send(&wire.Packet{Op: wire.Pub, Message: message.Message{Topic: "a"}})
		p.drain()
		g.accept(true)
	})
}

func TestAddress(t *testing.T) {
	bubble(t, func(t *testing.T, g *gateway) {
		tokens := []string{"t1", "t2"}
		d, p := g.dial(Options{
			ID: "m-7", Clean: true, SessionExpiry: time.Hour, Header: http.Header{"X-Site": {"north"}},
			TokenSource: func(context.Context) (string, error) {
				token := tokens[0]
				tokens = tokens[1:]
				return token, nil
			},
		})
		defer g.close(d)
		for _, want := range []struct{ query, auth string }{
			{"clean=true&device=m-7&expiry=3600", "Bearer t1"},
			{"device=m-7&expiry=3600", "Bearer t2"},
		} {
			r := p.request
			if r.URL.Path != "/connect" || r.URL.RawQuery != want.query || r.Header.Get("Authorization") != want.auth ||
				r.Header.Get("X-Site") != "north" {
				t.Errorf("request %v %v, want %+v", r.URL, r.Header, want)
			}
			if len(tokens) > 0 {
				p.cut()
				p = g.accept(true)
			}
		}
	})
}

// The URL carries a device's name unchanged, whatever characters it has.
func TestAddressOfAnyName(t *testing.T) {
	for _, id := range []string{"RDAM|123", "CP 01+", "a/b", "Zürich", "x:a"} {
		o := Options{ID: id}
		d, err := newDevice("ws://host/ocpp?x=1", &o)
		if err != nil {
			t.Fatal(err)
		}
		if u := d.addresses.all[0].url; u.Query().Get("device") != id {
			t.Errorf("%q is sent as %s", id, u)
		}
	}
}

func TestDialOptionsWrong(t *testing.T) {
	for url, o := range map[string]*Options{
		"ftp://host":     nil,
		"ws://":          nil,
		"ws://ho st":     nil,
		"ws://host/path": {ID: strings.Repeat("a", 129)},
		"ws://host/a":    {Subscriptions: []Subscription{{Filter: "a"}}},
		"ws://host/b":    {Subscriptions: []Subscription{{Filter: "a/#/b", Handle: func(context.Context, Message) {}}}},
	} {
		if d, err := Dial(t.Context(), url, o); err == nil || !strings.HasPrefix(err.Error(), "device: ") {
			t.Errorf("%s: %v, %v", url, d, err)
		}
	}
}
