package sink_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/sink"
	"github.com/longline/longline/internal/sink/file"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/sink/sinktest"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// puts is a store that notes what sinks put in it.
type puts struct {
	store.Store
	values map[string][]byte
}

func (p *puts) Put(space store.Space, key string, value []byte) {
	if space == store.SpaceSink {
		p.values[key] = value
	}
	p.Store.Put(space, key, value)
}

// world is a gateway with sinks that are files.
type world struct {
	*testing.T
	*sinktest.Gateway
	dir   string
	saved *puts
	set   *sink.Set
}

func newWorld(t *testing.T, c setting.Named[sink.Config]) *world {
	t.Helper()
	g := sinktest.NewGateway(t)
	w := &world{T: t, Gateway: g, dir: t.TempDir(), saved: &puts{g.Store, make(map[string][]byte)}}
	w.open(c)
	t.Cleanup(func() { w.set.Close(0) })
	return w
}

func (w *world) open(c setting.Named[sink.Config]) {
	w.Helper()
	var err error
	w.set, err = sink.Open(w.files(c), sink.Options{Node: 1, Router: w.Router, Streams: w.Streams, Store: w.saved, Saved: w.saved.values, Log: sinktest.Log})
	if err != nil {
		w.Fatal(err)
	}
}

// files puts the files of c into the world's directory.
func (w *world) files(c setting.Named[sink.Config]) setting.Named[sink.Config] {
	for name, one := range c {
		if one.File.Path != "" && !filepath.IsAbs(one.File.Path) {
			one.File.Path = filepath.Join(w.dir, one.File.Path)
			c[name] = one
		}
	}
	return c.WithDefaults()
}

func to(path string) sink.Config {
	return sink.Config{Stream: sinktest.Stream, File: file.Config{Path: path, Content: file.Payload}}
}

// publish publishes payloads, and waits until they are safe.
func (w *world) publish(payloads ...string) {
	w.Helper()
	safe := make(chan error, len(payloads))
	for _, text := range payloads {
		w.Publish(&message.Message{Topic: "device/d/t", Source: "d", QoS: message.AtLeastOnce, Payload: []byte(text), ContentType: message.JSON}, func(err error) { safe <- err })
	}
	for range payloads {
		if err := <-safe; err != nil {
			w.Fatal(err)
		}
	}
}

// has waits until a file has these lines.
func (w *world) has(path, want string) {
	w.Helper()
	var text []byte
	w.until(func() bool {
		text, _ = os.ReadFile(filepath.Join(w.dir, path))
		return strings.Join(strings.Fields(string(text)), " ") == want
	}, func() any { return string(text) })
}

func (w *world) until(reached func() bool, state func() any) {
	w.Helper()
	for deadline := time.Now().Add(30 * time.Second); !reached(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("not after 30 s: %v", state())
		}
	}
}

// A change of the configuration changes the sinks that it concerns, and no other; each goes on from its place.
func TestReload(t *testing.T) {
	w := newWorld(t, setting.Named[sink.Config]{"a": to("a"), "b": to("b"), "c": to("c")})
	w.publish("1")
	w.has("a", "1")
	w.has("b", "1")
	w.has("c", "1")
	a, b := w.set.Get("a"), w.set.Get("b")
	changed := to("b2")
	changed.Route.Where = `payload != 3.0`
	if err := w.set.Reload(w.files(setting.Named[sink.Config]{"a": to("a"), "b": changed, "d": to("d")})); err != nil {
		t.Fatal(err)
	}
	if w.set.Get("a") != a || w.set.Get("b") == b || w.set.Get("c") != nil || len(w.set.All()) != 3 {
		t.Error(w.set.All())
	}
	w.publish("2", "3", "4")
	w.has("a", "1 2 3 4")
	w.has("b", "1")
	w.has("b2", "2 4")
	w.has("c", "1")
	w.has("d", "1 2 3 4")
	if err := w.set.Reload(w.files(setting.Named[sink.Config]{"c": to("c")})); err != nil {
		t.Fatal(err)
	}
	w.has("c", "1 2 3 4")
}

// A configuration that cannot be used changes nothing.
func TestReloadFails(t *testing.T) {
	w := newWorld(t, setting.Named[sink.Config]{"a": to("a")})
	a := w.set.Get("a")
	other, schema := to("b"), to("b")
	other.Stream = "other"
	schema.Route.Format.Avro.SchemaFile = filepath.Join(w.dir, "none")
	for want, c := range map[string]sink.Config{"b.stream: ": other, "b.format.avro.schema_file: ": schema} {
		err := w.set.Reload(w.files(setting.Named[sink.Config]{"b": c}))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if w.set.Get("a") != a || w.set.Get("b") != nil {
		t.Error(w.set.All())
	}
	w.publish("1")
	w.has("a", "1")
}

// A paused sink sends nothing, also after a restart, until it is resumed.
func TestPause(t *testing.T) {
	w := newWorld(t, setting.Named[sink.Config]{"a": to("a"), "b": to("b")})
	if err := w.set.Pause(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := w.set.Pause(t.Context(), "none"); !errors.Is(err, sink.ErrUnknown) {
		t.Error(err)
	}
	w.publish("1")
	w.has("b", "1")
	w.set.Close(30 * time.Second)
	w.open(setting.Named[sink.Config]{"a": to("a"), "b": to("b")})
	w.publish("2")
	w.has("b", "1 2")
	if s := w.set.Get("a").Stats(); s.State != pump.Paused || s.Sent != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "a")); !os.IsNotExist(err) {
		t.Error(err)
	}
	if err := w.set.Resume(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	w.has("a", "1 2")
	w.set.Close(0)
	w.open(setting.Named[sink.Config]{"a": to("a")})
	if s := w.set.Get("a").Stats(); s.State != pump.Running {
		t.Errorf("%+v", s)
	}
}

// What a sink cannot write is a dead letter, which is replayed once the sink can.
func TestDeadLetters(t *testing.T) {
	broken := to("a")
	broken.Route.Set = map[string]string{"site": "{payload.site}"}
	w := newWorld(t, setting.Named[sink.Config]{"a": broken, "b": to("b")})
	w.publish(`{"n":1}`, `{"n":2,"site":"x"}`, `{"n":3}`)
	w.has("a", `{"n":2,"site":"x"}`)
	w.until(func() bool { return w.set.Get("a").Stats().Dead == 2 }, func() any { return w.set.Get("a").Stats() })
	if err := w.set.Reload(w.files(setting.Named[sink.Config]{"a": to("a"), "b": to("b")})); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second replay finds nothing
		if err := w.set.Get("a").Replay(pump.Range{Dead: true}); err != nil {
			t.Fatal(err)
		}
		w.until(func() bool { return w.set.Get("a").Stats().Replay == nil }, func() any { return w.set.Get("a").Stats() })
		w.has("a", `{"n":2,"site":"x"} {"n":1} {"n":3}`)
	}
	w.has("b", `{"n":1} {"n":2,"site":"x"} {"n":3}`)
}

// What is replayed is as it was: place, topic, source.
func TestReplayKeepsTheMessage(t *testing.T) {
	c := sink.Config{Stream: sinktest.Stream, File: file.Config{Path: "a"}, Route: route.Config{Where: "payload.ok"}}
	w := newWorld(t, setting.Named[sink.Config]{"a": c})
	w.publish(`{"ok":true}`, `{}`)
	w.until(func() bool { return w.set.Get("a").Stats().Dead == 1 }, func() any { return w.set.Get("a").Stats() })
	c.Route.Where = ""
	if err := w.set.Reload(w.files(setting.Named[sink.Config]{"a": c})); err != nil {
		t.Fatal(err)
	}
	if err := w.set.Get("a").Replay(pump.Range{Dead: true}); err != nil {
		t.Fatal(err)
	}
	if err := w.set.Get("a").Replay(pump.Range{Dead: true}); err != nil && !errors.Is(err, pump.ErrReplaying) {
		t.Error(err)
	}
	type line struct{ Place, Topic, Source string }
	var lines []line
	w.until(func() bool {
		text, _ := os.ReadFile(filepath.Join(w.dir, "a"))
		lines = nil
		for one := range strings.Lines(string(text)) {
			var l line
			if err := json.Unmarshal([]byte(one), &l); err != nil {
				return false
			}
			lines = append(lines, l)
		}
		return len(lines) == 2
	}, func() any { return lines })
	if want := (line{"1/all/2", "device/d/t", "d"}); lines[1] != want {
		t.Errorf("%+v", lines)
	}
}

// A range of the stream is sent again, and nothing else.
func TestReplayRange(t *testing.T) {
	w := newWorld(t, setting.Named[sink.Config]{"a": to("a")})
	w.publish("1", "2", "3", "4")
	w.has("a", "1 2 3 4")
	time.Sleep(2 * time.Millisecond)
	middle := time.Now()
	time.Sleep(2 * time.Millisecond)
	w.publish("5", "6")
	have := "1 2 3 4 5 6"
	w.has("a", have)
	for _, c := range []struct {
		what pump.Range
		more string
	}{
		{pump.Range{From: 2, To: 4}, " 2 3"},
		{pump.Range{From: 5}, " 5 6"},
		{pump.Range{From: 6, To: 100}, " 6"},
		{pump.Range{From: 100}, ""},
		{pump.Range{Until: middle}, " 1 2 3 4"},
		{pump.Range{Since: middle}, " 5 6"},
		{pump.Range{}, " 1 2 3 4 5 6"},
	} {
		if err := w.set.Get("a").Replay(c.what); err != nil {
			t.Fatal(err)
		}
		w.until(func() bool { return w.set.Get("a").Stats().Replay == nil }, func() any { return w.set.Get("a").Stats() })
		have += c.more
		w.has("a", have)
	}
}

// Close gives a sink time for what it has read, and then ends.
func TestClose(t *testing.T) {
	w := newWorld(t, setting.Named[sink.Config]{"a": to("a")})
	w.publish("1", "2")
	w.set.Close(20 * time.Second)
	if err := w.set.Reload(nil); !errors.Is(err, pump.ErrClosed) {
		t.Error(err)
	}
	if len(w.set.All()) != 0 {
		t.Error(w.set.All())
	}
}

func TestValidate(t *testing.T) {
	both := to("a")
	both.Kafka.Topic = "t"
	where := to("a")
	where.Route.Where = "("
	for want, c := range map[string]sink.Config{
		"stream: ":                 {File: file.Config{Path: "a"}},
		"file: nothing says":       {Stream: "s"},
		"kafka: want one of file,": both,
		"file.path: ":              {Stream: "s", File: file.Config{Content: file.Payload}},
		"where: ":                  where,
		"lanes: ":                  {Stream: "s", Pump: pump.Config{Lanes: 1000}, File: file.Config{Path: "a"}},
	} {
		err := c.WithDefaults().Validate()
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if c := to("a").WithDefaults(); c.Validate() != nil || c.Kind() != "file" {
		t.Error(c.Validate(), c.Kind())
	}
}

// A node without the stream of dead letters gets no sink: it would lose what the sink cannot write.
func TestNoPlaceForDeadLetters(t *testing.T) {
	g := sinktest.NewGateway(t)
	streams, err := stream.Open(t.TempDir(), setting.Named[stream.Config]{sinktest.Stream: {Filters: []string{"#"}}}.WithDefaults(),
		stream.Options{Router: g.Router, Store: g.Store, Log: sinktest.Log})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = streams.Close() }()
	c := setting.Named[sink.Config]{"a": to(filepath.Join(t.TempDir(), "a"))}.WithDefaults()
	if _, err := sink.Open(c, sink.Options{Node: 1, Router: g.Router, Streams: streams, Store: g.Store, Log: sinktest.Log}); err == nil || !strings.Contains(err.Error(), pump.LettersStream) {
		t.Errorf("got %v", err)
	}
}
