package sinktest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/stream"
)

// world is a server with its proxy, for all tests of a run.
type world struct {
	t      *testing.T // of the run
	server Server
	form   form
	proxy  *Proxy
}

// Gateway is the part of a node that sinks need: a router and streams, in a directory.
type Gateway struct {
	Router  *router.Router
	Streams *stream.Set
	Store   store.Store
}

// Stream is the name of the stream that Gateway has besides the dead letters. It has all topics.
const Stream = "all"

// Log is a log that nobody reads.
var Log = slog.New(slog.NewTextHandler(io.Discard, nil))

// startIDs makes message IDs available, once.
var startIDs = sync.OnceValue(func() error { return message.StartIDs(message.NewClock(1), func(error) {}) })

// NewGateway returns a gateway that ends with the test.
func NewGateway(t testing.TB) *Gateway {
	t.Helper()
	if err := startIDs(); err != nil {
		t.Fatal(err)
	}
	g := &Gateway{Store: store.NewMemory(store.Options{})}
	g.Router = router.New(router.Config{Node: 1}, g.Store)
	streams, err := stream.Open(t.TempDir(), setting.Named[stream.Config]{
		Stream:             {Filters: []string{"#"}},
		pump.LettersStream: {Filters: []string{pump.LettersFilter}},
	}.WithDefaults(), stream.Options{Router: g.Router, Store: g.Store, Log: Log})
	if err != nil {
		t.Fatal(err)
	}
	g.Streams = streams
	t.Cleanup(func() { _ = streams.Close() })
	return g
}

// Publish publishes a message, and calls done once it is safe in the streams.
func (g *Gateway) Publish(m *message.Message, done func(error)) {
	g.Router.PublishThen(m, done)
}

// one is one test: a gateway, and a sink that writes to a place of its own.
type one struct {
	*world
	t       *testing.T
	gateway *Gateway
	watcher *reload.Watcher
	where   string
	sink    *pump.Pump
	sent    []int // by device
}

const devices = 20

// begin starts a gateway and the sink.
func (w *world) begin(t *testing.T) *one {
	t.Helper()
	o := &one{world: w, t: t, gateway: NewGateway(t), watcher: new(reload.Watcher), where: fmt.Sprintf("t%d", rand.Int32()), sent: make([]int, devices)} //nolint:gosec // a name
	o.start()
	t.Cleanup(func() { o.stop(0) })
	return o
}

// start starts the sink.
func (o *one) start() {
	o.t.Helper()
	c := o.server.Config
	c.Batch.Messages = cmp.Or(c.Batch.Messages, 50)
	c.Lanes = cmp.Or(c.Lanes, 4)
	c.Ahead.Messages = cmp.Or(c.Ahead.Messages, 1000)
	c.Retry.First = cmp.Or(c.Retry.First, 10*time.Millisecond)
	c.Retry.Most = cmp.Or(c.Retry.Most, 500*time.Millisecond)
	c = c.WithDefaults()
	r, err := route.Open(route.Config{}.WithDefaults(), route.Options{Watcher: o.watcher, Log: Log})
	if err != nil {
		o.t.Fatal(err)
	}
	target := o.server.Open(o.t, o.proxy.Address(), o.where, pump.Options{Name: o.where, Stream: Stream, Node: 1, Lanes: c.Lanes, Watcher: o.watcher, Log: Log})
	o.sink = pump.Start(pump.Sink{
		Name: o.where, Config: c, Node: 1, Stream: o.gateway.Streams.Get(Stream), Letters: o.gateway.Streams.Get(pump.LettersStream),
		Route: r, Target: target, Log: Log, Publish: o.gateway.Publish,
	})
}

// stop closes the sink, which has this time for what is under way; with none, it ends as in a kill.
func (o *one) stop(grace time.Duration) {
	if o.sink == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	_ = o.sink.Close(ctx) // what is not confirmed comes again
	o.sink = nil
}

// payload is what devices publish.
type payload struct {
	Device int `json:"device"`
	N      int `json:"n"`
}

// publish publishes the next message of a device. It returns at once.
func (o *one) publish(device int, safe func(error)) {
	o.sent[device]++
	text, err := json.Marshal(payload{device, o.sent[device]})
	if err != nil {
		panic(err) // of two integers
	}
	o.publishPayload(device, text, safe)
}

func (o *one) publishPayload(device int, text []byte, safe func(error)) {
	name := fmt.Sprintf("d%d", device)
	o.gateway.Publish(&message.Message{
		Topic: "device/" + name + "/telemetry", Source: name, QoS: message.AtLeastOnce, Payload: text, ContentType: message.JSON, Time: time.Now().UnixMilli(),
		Origin: message.Origin{Via: message.ViaDevice},
	}, safe)
}

// publishAll publishes the messages of the form, from all devices. It returns when they are safe in the stream.
func (o *one) publishAll() {
	o.t.Helper()
	var safe sync.WaitGroup
	for n := range o.form.messages {
		safe.Add(1)
		o.publish(n%devices, func(err error) {
			if safe.Done(); err != nil {
				o.t.Error(err)
			}
		})
		if n%10 == 9 {
			time.Sleep(o.form.pause) // spreads the messages over the trouble
		}
	}
	safe.Wait()
}

// patience is how long the suite waits for a state.
const patience = 90 * time.Second

// drained waits until the sink has everything confirmed.
func (o *one) drained() {
	o.t.Helper()
	o.until("everything is confirmed", func(s pump.Stats) bool { return s.Place == s.End })
}

func (o *one) until(what string, reached func(pump.Stats) bool) {
	o.t.Helper()
	var s pump.Stats
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if s = o.sink.Stats(); reached(s) {
			return
		}
	}
	o.t.Fatalf("not after %v: %s: %+v", patience, what, s)
}

// check compares what the server has with what the devices sent, without what the server refused. twice says that messages may have come twice.
func (o *one) check(twice bool, refused int) {
	o.t.Helper()
	if n := o.gateway.Streams.Get(pump.LettersStream).End() - 1; n != uint64(refused) { //nolint:gosec // not negative
		o.t.Errorf("%d dead letters, want %d", n, refused)
	}
	all := o.server.Read(o.t, o.where)
	last := make([]int, devices)
	repeated := 0
	for i, text := range all {
		var p payload
		if err := json.Unmarshal(text, &p); err != nil || p.Device < 0 || p.Device >= devices {
			o.t.Fatalf("payload %d is %q: %v", i, text, err)
		}
		switch {
		case p.N == last[p.Device]+1:
			last[p.Device]++
		case p.N <= last[p.Device]:
			repeated++
		default:
			o.t.Fatalf("payload %d, %s, came after message %d of its device: messages between them are lost or come later", i, bytes.TrimSpace(text), last[p.Device])
		}
	}
	for device, n := range o.sent {
		if last[device] != n {
			o.t.Errorf("device %d sent %d messages, and the server has %d", device, n, last[device])
		}
	}
	if repeated > 0 && (o.server.Once || !twice) {
		o.t.Errorf("%d messages are there twice", repeated)
	}
	o.t.Logf("%d messages, %d of them again", len(all), repeated)
}
