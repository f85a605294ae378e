//go:build servers || long

package sinks

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/bridge"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/route"
	sinkmqtt "github.com/longline/longline/internal/sink/mqtt"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/sink/sinktest"
	"github.com/longline/longline/internal/source/feed"
	sourcemqtt "github.com/longline/longline/internal/source/mqtt"
	"github.com/longline/longline/internal/stream"
	"github.com/longline/longline/test/servers"
)

// bridging is a gateway with sinks and sources at brokers.
type bridging struct {
	*sinktest.Gateway
	t     *testing.T
	name  string
	loops *bridge.Loops
	downs []*feed.Source
}

func newBridging(t *testing.T, name string) *bridging {
	return &bridging{Gateway: sinktest.NewGateway(t), t: t, name: name, loops: bridge.NewLoops(name)}
}

// up sends everything below t/ to a broker.
func (b *bridging) up(server servers.Mosquitto, version string) {
	b.t.Helper()
	w := new(reload.Watcher)
	c := sinkmqtt.Config{Config: bridge.Config{URL: server.TCP(), Version: version}, Topics: []string{"t/#"}}.WithDefaults()
	target, err := sinkmqtt.Open(c, pump.Options{Name: "up", Stream: sinktest.Stream, Node: 1, Lanes: 4, Watcher: w, Loops: b.loops, Log: noLog})
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := route.Open(route.Config{}.WithDefaults(), route.Options{Watcher: w, Log: noLog})
	if err != nil {
		b.t.Fatal(err)
	}
	p := pump.Start(pump.Sink{
		Name: fmt.Sprintf("up%d", server.Port), Config: pump.Config{Lanes: 4}.WithDefaults(), Node: 1, Stream: b.Streams.Get(sinktest.Stream), Letters: b.Streams.Get(pump.LettersStream),
		Route: r, Target: target, Log: noLog, Publish: b.Publish,
	})
	b.t.Cleanup(func() { _ = p.Close(context.Background()) })
}

// down takes everything below t/ from a broker.
func (b *bridging) down(server servers.Mosquitto, version string) {
	b.t.Helper()
	w := new(reload.Watcher)
	c := sourcemqtt.Config{Config: bridge.Config{URL: server.TCP(), Version: version}, Topics: []string{"t/#"}}.WithDefaults()
	f, err := sourcemqtt.Open(c, feed.Options{Name: "down", Node: 1, Watcher: w, Loops: b.loops, Log: noLog})
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := route.Open(route.Config{}.WithDefaults(), route.Options{Watcher: w, Log: noLog})
	if err != nil {
		b.t.Fatal(err)
	}
	s, err := feed.Start(feed.SourceOptions{
		Name: "down", Number: 1, Config: feed.Config{}.WithDefaults(), Route: r, Feed: f, Log: noLog,
		Node: feed.Node{Publish: b.Publish, MaxPayload: 1 << 20},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(s.Close)
	b.downs = append(b.downs, s)
}

// publish publishes messages from a device of the gateway.
func (b *bridging) publish(n int) {
	for i := range n {
		payload := fmt.Sprintf("%s %d", b.name, i)
		b.Publish(&message.Message{
			Topic: "t/" + b.name, Source: b.name, QoS: message.AtLeastOnce, Payload: []byte(payload), Time: time.Now().UnixMilli(),
			Origin: message.Origin{Via: message.ViaDevice},
		}, func(error) {})
	}
}

// counts returns how often each payload is in the gateway's stream.
func (b *bridging) counts() map[string]int {
	b.t.Helper()
	r, err := b.Streams.Get(sinktest.Stream).Open("", stream.First)
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Close()
	all := make(map[string]int)
	ended, cancel := context.WithCancel(b.t.Context())
	cancel()
	for {
		entries, _, err := r.Take(ended, 1000, 1<<20, nil)
		if err != nil {
			return all
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Message.Topic, "t/") {
				all[string(e.Message.Payload)]++
			}
		}
	}
}

// circleWorld is gateways and brokers, of which all are to get what is published anywhere.
type circleWorld struct {
	*testing.T
	gateways []*bridging
	brokers  []*recorder
}

// watch adds a broker, and returns when all gateways have subscribed there that do so.
func (w *circleWorld) watch(server servers.Mosquitto) {
	w.Helper()
	r := record(w.T, server.TCP())
	r.subscribed(w.T)
	w.brokers = append(w.brokers, r)
}

// subscribed returns when all sources have got something.
func (w *circleWorld) subscribed() {
	w.Helper()
	w.until("all sources have subscribed", func() bool {
		for _, r := range w.brokers {
			r.publish(w.T, "t/probe", "probe")
		}
		for _, g := range w.gateways {
			for _, s := range g.downs {
				if s.Stats().Taken == 0 {
					return false
				}
			}
		}
		return true
	})
}

func (w *circleWorld) until(what string, reached func() bool) {
	w.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if reached() {
			return
		}
	}
	w.Fatalf("not after a minute: %s", what)
}

// everywhere calls check with what each gateway and broker has.
func (w *circleWorld) everywhere(check func(who string, counts map[string]int)) {
	for _, g := range w.gateways {
		check(g.name, g.counts())
	}
	for i, r := range w.brokers {
		counts := make(map[string]int)
		for _, payload := range r.have(w.T, "t") {
			counts[string(payload)]++
		}
		check(fmt.Sprintf("broker %d", i), counts)
	}
}

// arrive waits until everybody has n messages of each publisher.
func (w *circleWorld) arrive(n int) {
	w.Helper()
	w.until(fmt.Sprintf("everybody has %d messages of each", n), func() (all bool) {
		all = true
		w.everywhere(func(_ string, counts map[string]int) {
			for _, g := range w.gateways {
				all = all && counts[fmt.Sprintf("%s %d", g.name, n-1)] > 0
			}
			for i := range w.brokers {
				all = all && counts[fmt.Sprintf("there%d %d", i, n-1)] > 0
			}
		})
		return all
	})
}

// run publishes everywhere, and checks that everybody gets each message at most so often.
func (w *circleWorld) run(most int) {
	w.Helper()
	const n = 50
	for _, g := range w.gateways {
		g.publish(n)
	}
	for i, r := range w.brokers {
		for k := range n {
			r.publish(w.T, "t/there", fmt.Sprintf("there%d %d", i, k))
		}
	}
	w.arrive(n)
	quiet := func() (sum int) {
		w.everywhere(func(_ string, counts map[string]int) {
			for _, c := range counts {
				sum += c
			}
		})
		return sum
	}
	before := quiet()
	w.until("nothing moves", func() bool { // for half a second, in which a message goes round many times
		time.Sleep(500 * time.Millisecond)
		last := before
		before = quiet()
		return before == last
	})
	w.everywhere(func(who string, counts map[string]int) {
		for payload, c := range counts {
			if c > most && payload != "probe" {
				w.Errorf("%s got %q %d times", who, payload, c)
			}
		}
	})
}

// Two gateways and a broker between them, both ways: everybody gets each message once.
func TestMQTTStar(t *testing.T) {
	server := servers.StartMosquitto(t)
	for _, versions := range variants(1, [2]string{"5", "3.1.1"}, [2]string{"5", "5"}, [2]string{"3.1.1", "3.1.1"}) {
		t.Run(versions[0]+" "+versions[1], func(t *testing.T) {
			w := &circleWorld{T: t}
			for i, version := range versions {
				g := newBridging(t, fmt.Sprintf("gateway%d-%s-%s", i, versions[0], versions[1]))
				g.up(server, version)
				g.down(server, version)
				w.gateways = append(w.gateways, g)
			}
			w.watch(server)
			w.subscribed()
			w.run(1)
		})
	}
}

// Two gateways and two brokers in a circle, both ways: everybody gets each message, and it ends.
func TestMQTTCircle(t *testing.T) {
	for _, versions := range variants(1, [2]string{"5", "3.1.1"}, [2]string{"5", "5"}, [2]string{"3.1.1", "3.1.1"}) {
		t.Run(versions[0]+" "+versions[1], func(t *testing.T) {
			one, two := servers.StartMosquitto(t), servers.StartMosquitto(t)
			w := &circleWorld{T: t}
			for i := range 2 {
				g := newBridging(t, fmt.Sprintf("gateway%d", i))
				for k, server := range []servers.Mosquitto{one, two} {
					g.up(server, versions[k])
					g.down(server, versions[k])
				}
				w.gateways = append(w.gateways, g)
			}
			w.watch(one)
			w.watch(two)
			w.subscribed()
			w.run(4)
		})
	}
}
