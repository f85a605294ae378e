//go:build servers || long

package sinks

import (
	"context"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"github.com/longline/longline/internal/bridge"
	"github.com/longline/longline/internal/sink/mqtt"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/sink/sinktest"
	"github.com/longline/longline/test/servers"
)

// recorder is a subscriber of a broker that has what is published there, by the first level of the topic. It comes back whenever the broker does.
type recorder struct {
	manager *autopaho.ConnectionManager
	up      chan struct{} // gets one element when it has subscribed
	mark    chan string   // gets the payloads that come for the topic markTopic

	mu  sync.Mutex
	got map[string][][]byte
}

const markTopic = "recorder/mark"

// record starts a recorder for all topics, which ends with the test.
func record(t *testing.T, brokerURL string) *recorder {
	t.Helper()
	u, err := url.Parse(brokerURL)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{up: make(chan struct{}, 1), mark: make(chan string, 1), got: make(map[string][][]byte)}
	ctx, cancel := context.WithCancel(context.Background())
	c := autopaho.ClientConfig{
		ServerUrls: []*url.URL{u}, KeepAlive: 30, ReconnectBackoff: func(int) time.Duration { return 10 * time.Millisecond },
		OnConnectionUp: func(m *autopaho.ConnectionManager, _ *paho.Connack) {
			go func() {
				if _, err := m.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "#", QoS: 0}}}); err == nil {
					r.up <- struct{}{}
				}
			}()
		},
		ClientConfig: paho.ClientConfig{
			ClientID: "recorder",
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
				r.put(p.Packet.Topic, p.Packet.Payload)
				return true, nil
			}},
		},
	}
	if r.manager, err = autopaho.NewConnection(ctx, c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		<-r.manager.Done()
	})
	return r
}

// subscribed waits until the recorder has subscribed, after the broker has started.
func (r *recorder) subscribed(t testing.TB) {
	t.Helper()
	select {
	case <-r.up:
	case <-time.After(time.Minute):
		t.Fatal("the recorder cannot subscribe")
	}
}

func (r *recorder) put(topic string, payload []byte) {
	if topic == markTopic {
		r.mark <- string(payload)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	first := topic
	for i := range topic {
		if topic[i] == '/' {
			first = topic[:i]
			break
		}
	}
	r.got[first] = append(r.got[first], payload)
}

// publish publishes at the broker.
func (r *recorder) publish(t testing.TB, topic, payload string) {
	t.Helper()
	if _, err := r.manager.Publish(t.Context(), &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(payload)}); err != nil {
		t.Fatal(err)
	}
}

// have returns what came for topics with this first level, after all that the broker has at the time of the call.
func (r *recorder) have(t testing.TB, first string) [][]byte {
	t.Helper()
	r.publish(t, markTopic, "")
	select {
	case <-r.mark:
	case <-time.After(time.Minute):
		t.Fatal("the recorder does not get what it publishes")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([][]byte(nil), r.got[first]...)
}

// A Mosquitto writes a publication to its subscribers before it acknowledges it, so also a kill loses nothing that the recorder was there for.
func TestMQTT(t *testing.T) {
	for _, version := range []string{"5", "3.1.1"} {
		t.Run(version, func(t *testing.T) {
			var server *servers.Mosquitto
			var there *recorder
			sinktest.Run(t, sinktest.Server{
				Start: func(t testing.TB, _ string) string {
					if server == nil {
						started := servers.StartMosquitto(t, "max_queued_messages 0", "max_inflight_messages 0")
						server = &started
						there = record(t.(*testing.T), server.TCP())
					} else {
						server.Restart()
					}
					there.subscribed(t)
					return server.Address()
				},
				Kill: func(testing.TB) { server.Kill() },
				Open: func(t testing.TB, proxy, where string, o pump.Options) pump.Target {
					o.Loops = bridge.NewLoops("here")
					c := mqtt.Config{Config: bridge.Config{URL: "mqtt://" + proxy, Version: version, Timeout: time.Second, KeepAlive: time.Second}}
					c.Topics = []string{"device/+/telemetry -> " + where + "/{payload.device}/t"}
					c = c.WithDefaults()
					if err := c.Validate(); err != nil {
						t.Fatal(err)
					}
					target, err := mqtt.Open(c, o)
					if err != nil {
						t.Fatal(err)
					}
					return target
				},
				Bad:  []byte(`{"device":"+"}`),
				Read: func(t testing.TB, where string) [][]byte { return there.have(t, where) },
			})
		})
	}
}
