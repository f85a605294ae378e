//go:build servers || long

package sinks

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"github.com/longline/longline/internal/bridge"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/sinktest"
	"github.com/longline/longline/internal/source/feed"
	"github.com/longline/longline/internal/source/mqtt"
	"github.com/longline/longline/internal/stream"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/test/servers"
)

// down is a gateway with a source that reads from a Mosquitto through a proxy, and somebody who publishes there.
type down struct {
	*testing.T
	server  servers.Mosquitto
	proxy   *sinktest.Proxy
	gateway *sinktest.Gateway
	config  mqtt.Config
	loops   *bridge.Loops
	source  *feed.Source
	there   *autopaho.ConnectionManager
	sent    [downDevices]int
}

const downDevices = 10

func newDown(t *testing.T, version string) *down {
	t.Helper()
	d := &down{T: t, server: servers.StartMosquitto(t, "max_queued_messages 0"), proxy: sinktest.NewProxy(t), gateway: sinktest.NewGateway(t), loops: bridge.NewLoops("here")}
	d.proxy.To(d.server.Address())
	d.config = mqtt.Config{
		Config: bridge.Config{URL: "mqtt://" + d.proxy.Address(), Version: version, ClientID: "down", Timeout: time.Second, KeepAlive: time.Second},
		Topics: []string{"site7/+/cmd -> device/{topic[1]}/cmd"},
	}.WithDefaults()
	if err := d.config.Validate(); err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(d.server.TCP())
	ctx, cancel := context.WithCancel(context.Background())
	there, err := autopaho.NewConnection(ctx, autopaho.ClientConfig{
		ServerUrls: []*url.URL{u}, KeepAlive: 30, ReconnectBackoff: func(int) time.Duration { return 10 * time.Millisecond },
		ClientConfig: paho.ClientConfig{ClientID: "publisher"},
	})
	if err != nil {
		t.Fatal(err)
	}
	d.there = there
	t.Cleanup(func() {
		cancel()
		<-there.Done()
	})
	d.start()
	t.Cleanup(func() { d.source.Close() })
	d.until("it has subscribed", func() bool { return d.source.Stats().State == feed.Running && d.taken() > 0 })
	return d
}

// start starts the source.
func (d *down) start() {
	d.Helper()
	w := new(reload.Watcher)
	f, err := mqtt.Open(d.config, feed.Options{Name: "down", Node: 1, Watcher: w, Loops: d.loops, Log: noLog})
	if err != nil {
		d.Fatal(err)
	}
	r, err := route.Open(route.Config{}.WithDefaults(), route.Options{Watcher: w, Log: noLog})
	if err != nil {
		d.Fatal(err)
	}
	d.source, err = feed.Start(feed.SourceOptions{
		Name: "down", Number: 1, Config: feed.Config{}.WithDefaults(), Route: r, Feed: f, Log: noLog,
		Node: feed.Node{Publish: d.gateway.Publish, Topics: topic.Limits{}, MaxPayload: 1 << 20},
	})
	if err != nil {
		d.Fatal(err)
	}
}

// taken publishes at the broker until the source has it, because nobody is told when it has subscribed. It returns how many records the source took.
func (d *down) taken() uint64 {
	d.Helper()
	d.publishAt("site7/probe/cmd", []byte("{}"))
	return d.source.Stats().Taken
}

func (d *down) publishAt(topic string, payload []byte) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), time.Minute)
	defer cancel()
	if err := d.there.AwaitConnection(ctx); err != nil {
		d.Fatal(err)
	}
	if _, err := d.there.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: payload}); err != nil {
		d.Fatal(err)
	}
}

// publish publishes the next messages of all devices.
func (d *down) publish(each int) {
	d.Helper()
	for range each {
		for device := range downDevices {
			d.sent[device]++
			payload, err := json.Marshal(d.sent[device])
			if err != nil {
				d.Fatal(err)
			}
			d.publishAt(fmt.Sprintf("site7/d%d/cmd", device), payload)
		}
	}
}

func (d *down) until(what string, reached func() bool) {
	d.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if reached() {
			return
		}
	}
	d.Fatalf("not after a minute: %s: %+v", what, d.source.Stats())
}

// check reads the gateway's stream until it has all that was published, and checks that it is there in order. It returns how many came again.
func (d *down) check() (again int) {
	d.Helper()
	r, err := d.gateway.Streams.Get(sinktest.Stream).Open("", stream.First)
	if err != nil {
		d.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(d.Context(), time.Minute)
	defer cancel()
	var last [downDevices]int
	for last != d.sent {
		entries, missed, err := r.Take(ctx, 1000, 1<<20, nil)
		if err != nil || missed > 0 {
			d.Fatalf("the gateway has %v of %v, and no more comes: %v", last, d.sent, err)
		}
		for _, e := range entries {
			var device, n int
			if _, err := fmt.Sscanf(e.Message.Topic, "device/d%d/cmd", &device); err != nil {
				continue // a probe
			}
			if err := json.Unmarshal(e.Message.Payload, &n); err != nil || e.Message.QoS != message.AtLeastOnce {
				d.Fatalf("%+v: %v", e.Message, err)
			}
			switch {
			case n == last[device]+1:
				last[device] = n
			case n <= last[device]:
				again++
			default:
				d.Fatalf("%d of device %d comes behind %d", n, device, last[device])
			}
		}
	}
	return again
}

// What is published at the broker arrives in the order of its topic, through cuts, silence, ends of the gateway's and the broker's life.
func TestMQTTSource(t *testing.T) {
	for _, version := range []string{"5", "3.1.1"} {
		t.Run(version, func(t *testing.T) {
			d := newDown(t, version)
			d.publish(10)
			if again := d.check(); again > 0 {
				t.Errorf("%d came again without a reason", again)
			}
			published := make(chan struct{})
			go func() {
				defer close(published)
				d.publish(times(40, 100))
			}()
			for round := range times(3, 9) {
				time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
				switch round % 3 {
				case 0:
					d.proxy.Cut()
				case 1:
					d.source.Close()
					d.start()
				case 2:
					d.proxy.Silence()
					time.Sleep(20 * time.Millisecond)
					d.proxy.Cut()
					d.proxy.Go()
				}
			}
			<-published
			t.Logf("with cuts %d came again", d.check())

			// What the broker has saved while the gateway was away comes, also when the broker is killed in between.
			d.source.Close()
			d.publish(20)
			d.publishAt("site7/probe/cmd", nil) // before it is answered the others are saved
			d.publishAt("site7/probe/cmd", nil)
			d.server.Kill()
			d.server.Restart()
			d.start()
			t.Logf("with a kill of the broker %d came again", d.check())
		})
	}
}

// What the broker retains comes with its flag, and comes once.
func TestMQTTSourceRetained(t *testing.T) {
	for _, version := range []string{"5", "3.1.1"} {
		t.Run(version, func(t *testing.T) {
			d := newDown(t, version)
			r, err := d.gateway.Streams.Get(sinktest.Stream).Open("", stream.Latest)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if _, err := d.there.Publish(t.Context(), &paho.Publish{Topic: "site7/kept/cmd", QoS: 1, Retain: true, Payload: []byte("1")}); err != nil {
				t.Fatal(err)
			}
			d.publishAt("site7/other/cmd", []byte("2"))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			got := ""
			for len(got) < len("device/kept/cmd 1 true;device/other/cmd 2 false;") {
				entries, _, err := r.Take(ctx, 10, 1<<20, nil)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					if e.Message.Topic != "device/probe/cmd" {
						got += fmt.Sprintf("%s %s %t;", e.Message.Topic, e.Message.Payload, e.Message.Kept)
					}
				}
			}
			if got != "device/kept/cmd 1 true;device/other/cmd 2 false;" {
				t.Error(got)
			}
		})
	}
}
