package mqtt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/longline/longline/internal/bridge"
	"github.com/longline/longline/internal/bridge/bridgetest"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/source/feed"
	wire "github.com/longline/longline/internal/wire/mqtt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noLog = slog.New(slog.NewTextHandler(io.Discard, nil))

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

// world is a source, the broker that it reads from, and what it takes.
type world struct {
	*testing.T
	server *bridgetest.Broker
	source *source
	taken  chan taken
	ended  chan error
	stop   context.CancelFunc
}

type taken struct {
	*feed.Record
	confirmed func(error)
}

func newWorld(t *testing.T, c Config) *world {
	t.Helper()
	w := &world{T: t, server: bridgetest.Start(t), taken: make(chan taken, 10_000)}
	c.URL = w.server.URL()
	if len(c.Topics) == 0 {
		c.Topics = []string{"up/# -> down/{topic[1:]}"}
	}
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	f, err := Open(c, feed.Options{Name: "down", Node: 1, Watcher: new(reload.Watcher), Loops: bridge.NewLoops("here"), Log: noLog})
	if err != nil {
		t.Fatal(err)
	}
	w.source = f.(*source)
	t.Cleanup(func() {
		_ = w.end()
		f.Close()
	})
	return w
}

// run begins Run. The records that it takes are in w.taken.
func (w *world) run() {
	ctx, cancel := context.WithCancel(w.Context())
	w.stop, w.ended = cancel, make(chan error, 1)
	go func() {
		w.ended <- w.source.Run(ctx, func(_ context.Context, r *feed.Record, confirmed func(error)) error {
			w.taken <- taken{r, confirmed}
			return nil
		})
	}()
}

// end ends Run and returns its error.
func (w *world) end() (err error) {
	w.Helper()
	if w.stop == nil {
		return nil
	}
	defer w.stop()
	w.stop()
	w.stop = nil
	return w.over()
}

// over waits until Run has ended.
func (w *world) over() error {
	w.Helper()
	select {
	case err := <-w.ended:
		w.ended <- err
		return err
	case <-time.After(patience):
		w.Fatal("Run does not end")
		return nil
	}
}

// next waits for a record.
func (w *world) next(payload string) taken {
	w.Helper()
	select {
	case r := <-w.taken:
		if string(r.Value) != payload {
			w.Fatalf("%s comes, not %s", r.Value, payload)
		}
		return r
	case <-time.After(patience):
		w.Fatalf("%s does not come", payload)
		return taken{}
	}
}

func acknowledged(t *testing.T, p *bridgetest.Peer, ids ...uint16) {
	t.Helper()
	for _, id := range ids {
		if got := p.Expect(wire.Puback).ID; got != id {
			t.Fatalf("%d is acknowledged, not %d", got, id)
		}
	}
}

// The broker gets the acknowledgement of a publication when it and all before it are safe.
func TestAcknowledgement(t *testing.T) {
	w := newWorld(t, Config{})
	w.run()
	peer := w.server.Welcome(wire.V5, wire.Packet{})
	s := peer.Grant().Subscriptions
	if want := (wire.Subscription{Filter: "up/#", QoS: 1, RetainAsPublished: true, RetainHandling: 1}); len(s) != 1 || s[0] != want {
		t.Errorf("%+v", s)
	}
	for id := range uint16(4) {
		peer.Publish(id+1, "up/a", fmt.Sprint(id+1))
	}
	one, two, three, four := w.next("1"), w.next("2"), w.next("3"), w.next("4")
	two.confirmed(nil)
	four.confirmed(nil)
	one.confirmed(nil)
	acknowledged(t, peer, 1, 2)
	three.confirmed(nil)
	acknowledged(t, peer, 3, 4)
	if one.To != "down/a" || one.Topic != "up/a" || one.QoS != 1 {
		t.Errorf("%+v", one.Record)
	}
}

func TestRecord(t *testing.T) {
	w := newWorld(t, Config{})
	w.run()
	peer := w.server.Welcome(wire.V5, wire.Packet{})
	peer.Grant()
	peer.Send(wire.Packet{
		Type: wire.Publish, ID: 1, QoS: 1, Retain: true, Topic: "up/a/b", Payload: []byte("x"),
		Properties: wire.Properties{ContentType: "text/plain", MessageExpiry: 60, User: []message.Property{{Key: "k", Value: "v"}, {Key: bridge.HopsProperty, Value: "far"}}},
	})
	r := w.next("x")
	left := time.Until(time.UnixMilli(r.Expiry))
	broker := w.source.hop
	if got, want := fmt.Sprintf("%s %s %t %v", r.To, r.ContentType, r.Retain, r.Properties), "down/a/b text/plain true [{k v} {"+bridge.HopsProperty+" far,"+broker+"}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if left < 50*time.Second || left > time.Minute || !strings.HasPrefix(broker, "here/") {
		t.Errorf("%v, %s", left, broker)
	}
	r.confirmed(nil)
	peer.Send(wire.Packet{Type: wire.Publish, Topic: "up/0", Payload: []byte("no acknowledgement")})
	if r = w.next("no acknowledgement"); r.QoS != 0 {
		t.Errorf("%+v", r.Record)
	}
	r.confirmed(nil)
	acknowledged(t, peer, 1)
}

// What is not for the gateway is acknowledged and counted.
func TestDrops(t *testing.T) {
	w := newWorld(t, Config{Config: bridge.Config{MaxPacket: 2000}, Topics: []string{"up/+", "error -> {payload.missing}"}})
	w.run()
	peer := w.server.Welcome(wire.V5, wire.Packet{})
	peer.Grant()
	hops := func(list string) wire.Properties {
		return wire.Properties{User: []message.Property{{Key: bridge.HopsProperty, Value: list}}}
	}
	peer.Publish(1, "older/subscription", "x")
	peer.Send(wire.Packet{Type: wire.Publish, ID: 2, QoS: 1, Topic: "up/a", Properties: hops("here,there")})
	peer.Send(wire.Packet{Type: wire.Publish, ID: 3, QoS: 1, Topic: "up/a", Properties: hops(strings.Repeat("x,", 15) + "x")})
	peer.Publish(4, "up/a", strings.Repeat("x", 3000))
	acknowledged(t, peer, 1, 2, 3, 4)
	want := map[string]uint64{"unmatched": 1, "returned": 1, "too_far": 1, "oversized": 1, "no_room": 0}
	if got := w.source.Dropped(); !maps.Equal(got, want) {
		t.Errorf("dropped are %v", got)
	}
	peer.Publish(5, "error", `{}`)
	if r := w.next(`{}`); r.Err == nil || r.To != "" {
		t.Errorf("without a topic: %+v", r.Record)
	}
}

// After a cut what was taken and is safe is acknowledged when it comes again, and not taken a second time. What is not safe is.
func TestCut(t *testing.T) {
	for _, resumed := range []bool{true, false} {
		w := newWorld(t, Config{})
		w.run()
		peer := w.server.Welcome(wire.V5, wire.Packet{})
		peer.Grant()
		for id := range uint16(3) {
			peer.Publish(id+1, "up/a", fmt.Sprint(id+1))
		}
		one, two, three := w.next("1"), w.next("2"), w.next("3")
		one.confirmed(nil)
		acknowledged(t, peer, 1)
		peer.Cut()
		if err := w.over(); err == nil {
			t.Error("Run ends without an error")
		}
		w.run() // it waits until it is known what became of these:
		two.confirmed(nil)
		three.confirmed(nil)
		peer = w.server.Welcome(wire.V5, wire.Packet{SessionPresent: resumed})
		if !resumed {
			peer.Grant()
		}
		again := func(id uint16, dup bool, payload string) {
			peer.Send(wire.Packet{Type: wire.Publish, Dup: dup, ID: id, QoS: 1, Topic: "up/a", Payload: []byte(payload)})
		}
		again(2, true, "2")
		again(3, true, "other")
		again(4, true, "4")
		if !resumed {
			w.next("2").confirmed(nil)
		}
		w.next("other").confirmed(nil)
		w.next("4").confirmed(nil)
		acknowledged(t, peer, 2, 3, 4)
		again(2, true, "2") // under an identifier that was acknowledged: it is another publication
		w.next("2").confirmed(nil)
		acknowledged(t, peer, 2)
		_ = w.end()
	}
}

// When a publication fails, it comes again with all behind it, in order, also what was safe.
func TestFailure(t *testing.T) {
	w := newWorld(t, Config{})
	w.run()
	peer := w.server.Welcome(wire.V5, wire.Packet{})
	peer.Grant()
	for id := range uint16(4) {
		peer.Publish(id+1, "up/a", fmt.Sprint(id+1))
	}
	one, two, three, four := w.next("1"), w.next("2"), w.next("3"), w.next("4")
	four.confirmed(nil)
	why := errors.New("no room")
	two.confirmed(why)
	if err := w.over(); !errors.Is(err, why) {
		t.Errorf("Run ends with %v", err)
	}
	peer.Ended()
	w.run()
	one.confirmed(nil)
	three.confirmed(nil)
	peer = w.server.Welcome(wire.V5, wire.Packet{SessionPresent: true})
	for id := range uint16(4) {
		peer.Send(wire.Packet{Type: wire.Publish, Dup: true, ID: id + 1, QoS: 1, Topic: "up/a", Payload: []byte(fmt.Sprint(id + 1))})
	}
	for _, payload := range []string{"2", "3", "4"} {
		w.next(payload).confirmed(nil)
	}
	acknowledged(t, peer, 1, 2, 3, 4)
}

// At its end Run waits a little for what it has taken, so that it is acknowledged.
func TestEnd(t *testing.T) {
	w := newWorld(t, Config{})
	w.run()
	peer := w.server.Welcome(wire.V5, wire.Packet{})
	peer.Grant()
	peer.Publish(1, "up/a", "1")
	r := w.next("1")
	w.stop()
	r.confirmed(nil)
	_ = w.over()
	if last := peer.Ended(); len(last) != 2 || last[0] != wire.Puback {
		t.Errorf("at the end came %v", last)
	}
}

// The session is asked for its subscriptions once in the life of a gateway, and again when the broker has lost it.
func TestSubscribes(t *testing.T) {
	w := newWorld(t, Config{Topics: []string{"a/#", "$share/g/b/+"}})
	for i, test := range []struct{ present, asks bool }{{true, true}, {true, false}, {false, true}} {
		w.run()
		peer := w.server.Welcome(wire.V5, wire.Packet{SessionPresent: test.present})
		if test.asks {
			if s := peer.Grant().Subscriptions; len(s) != 2 || s[1].RetainHandling != 0 {
				t.Errorf("%+v", s)
			}
		}
		peer.Publish(1, "b/x", "x")
		w.next("x").confirmed(nil)
		acknowledged(t, peer, 1)
		if err := w.end(); err == nil {
			t.Errorf("%d: Run ends without an error", i)
		}
		if last := peer.Ended(); len(last) != 1 || last[0] != wire.Disconnect {
			t.Errorf("%d: at the end came %v", i, last)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, test := range []struct {
		connack wire.Packet
		code    wire.Code // of the subscription
		forGood bool
	}{
		{wire.Packet{Reason: wire.BadUsernameOrPassword}, 0, false}, // the password may become right
		{wire.Packet{Reason: wire.ServerUnavailable}, 0, false},
		{wire.Packet{Reason: wire.ClientIDNotValid}, 0, true},
		{wire.Packet{}, wire.NotAuthorized, false},
		{wire.Packet{}, wire.Success, true}, // QoS 0 is all that it grants
	} {
		w := newWorld(t, Config{})
		w.run()
		peer := w.server.Welcome(wire.V5, test.connack)
		if test.connack.Reason == 0 {
			peer.Send(wire.Packet{Type: wire.Suback, ID: peer.Expect(wire.Subscribe).ID, Codes: []wire.Code{test.code}})
		}
		if err := w.over(); err == nil || feed.IsMisconfigured(err) != test.forGood {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

// While the gateway takes nothing, the broker's publications wait, QoS 0 is dropped, and pings go on. Then all comes in order.
func TestBackPressure(t *testing.T) {
	for _, version := range []string{"5", "3.1.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Config{Config: bridge.Config{Version: version, KeepAlive: time.Second}, Unanswered: 10})
			goOn := make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			w.stop, w.ended = cancel, make(chan error, 1)
			go func() {
				w.ended <- w.source.Run(ctx, func(_ context.Context, r *feed.Record, confirmed func(error)) error {
					<-goOn
					w.taken <- taken{r, confirmed}
					return nil
				})
			}()
			peer := w.server.Welcome(w.source.broker.Version(), wire.Packet{})
			peer.Grant()
			const most = 100 // in 3.1.1 a broker may send any number
			n := uint16(10)
			if version == "3.1.1" {
				n = most
			}
			for id := range n {
				peer.Publish(id+1, "up/a", fmt.Sprint(id+1))
			}
			if version == "5" {
				for range most {
					peer.Send(wire.Packet{Type: wire.Publish, Topic: "up/a", Payload: []byte("QoS 0")})
				}
			}
			for range 8 { // two seconds and more
				if p := peer.Next(); p.Type != wire.Pingreq {
					t.Fatalf("%s", p.Type)
				}
				if version == "5" { // its answers are read
					peer.Send(wire.Packet{Type: wire.Pingresp})
				}
			}
			close(goOn)
			for id := range n {
				w.next(fmt.Sprint(id + 1)).confirmed(nil)
			}
			acknowledged(t, peer, 1, 2, 3)
			if dropped := w.source.drops[noRoom].N(); version == "5" && dropped < most-20 {
				t.Errorf("%d of QoS 0 were dropped", dropped)
			}
		})
	}
}
