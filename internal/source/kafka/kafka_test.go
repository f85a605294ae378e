package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/longline/longline/internal/command"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/source/feed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var log = slog.New(slog.NewTextHandler(io.Discard, nil))

// world is a Kafka in this process with topic orders, and what a gateway made of its records.
type world struct {
	*testing.T
	kafka  *kfake.Cluster
	client *kgo.Client

	mu       sync.Mutex
	messages []*message.Message
	letters  []*message.Message
	commands map[string]int // requests by key
	hold     bool           // answers wait
	held     []func(error)
	refuse   error // publications are refused
}

func newWorld(t *testing.T) *world {
	t.Helper()
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "orders"), kfake.GroupMinSessionTimeout(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	c, err := kgo.NewClient(kgo.SeedBrokers(kafka.ListenAddrs()...), kgo.DefaultProduceTopic("orders"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &world{T: t, kafka: kafka, client: c, commands: make(map[string]int)}
}

func (w *world) Publish(m *message.Message, done func(error)) {
	w.mu.Lock()
	err := w.refuse
	switch {
	case strings.HasPrefix(m.Topic, "$source/"):
		w.letters = append(w.letters, m)
		err = nil
	case err == nil:
		w.messages = append(w.messages, m)
		if w.hold {
			w.held = append(w.held, done)
			done = func(error) {}
		}
	}
	w.mu.Unlock()
	done(err)
}

// start starts a source. It ends with the test, or when stop is called.
func (w *world) start(c feed.Config) (s *feed.Source, stop func()) {
	w.Helper()
	of := Config{Topics: []string{"orders"}}
	of.Brokers = w.kafka.ListenAddrs()
	of = of.WithDefaults()
	c = c.WithDefaults()
	if err := errors.Join(of.Validate(), c.Validate()); err != nil {
		w.Fatal(err)
	}
	f, err := Open(of, feed.Options{Name: "erp", Node: 1, Watcher: new(reload.Watcher), Log: log})
	if err != nil {
		w.Fatal(err)
	}
	r, err := route.Open(route.Config{}.WithDefaults(), route.Options{Watcher: new(reload.Watcher), Log: log})
	if err != nil {
		w.Fatal(err)
	}
	s, err = feed.Start(feed.SourceOptions{Name: "erp", Number: 1, Config: c, Route: r, Feed: f, Log: log, Node: feed.Node{
		Publish: w.Publish,
		Command: func(_ context.Context, r *command.Request, _ time.Duration, done func(error)) {
			w.mu.Lock()
			w.commands[r.Key]++
			w.mu.Unlock()
			done(nil)
		},
		Commands: command.Config{}.WithDefaults(),
	}})
	if err != nil {
		w.Fatal(err)
	}
	stop = sync.OnceFunc(s.Close)
	w.Cleanup(func() {
		w.release(nil)
		stop()
	})
	return s, stop
}

// write writes records from..to, each with its number as payload, from devices that take turns.
func (w *world) write(from, to int) {
	w.Helper()
	for n := from; n <= to; n++ {
		r := &kgo.Record{Key: fmt.Appendf(nil, "d%d", n%7), Value: fmt.Append(nil, n), Headers: []kgo.RecordHeader{
			{Key: "content-type", Value: []byte("text/plain")}, {Key: "n", Value: fmt.Append(nil, n)}, {Key: "raw", Value: []byte{0xff}},
		}}
		if err := w.client.ProduceSync(w.Context(), r).FirstErr(); err != nil {
			w.Fatal(err)
		}
	}
}

// release answers publications whose answers wait, and lets others have theirs at once.
func (w *world) release(err error) {
	w.mu.Lock()
	held := w.held
	w.hold, w.held = false, nil
	w.mu.Unlock()
	for _, done := range held {
		done(err)
	}
}

func (w *world) until(what string, reached func() bool) {
	w.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		w.mu.Lock()
		ok := reached()
		w.mu.Unlock()
		if ok {
			return
		}
	}
	w.Fatalf("not after 30 s: %s", what)
}

// committed returns the sum of the group's offsets.
func (w *world) committed() (sum int64) {
	w.Helper()
	all, err := kadm.NewClient(w.client).FetchOffsets(w.Context(), "longline.erp")
	if err != nil {
		return 0
	}
	all.Each(func(o kadm.OffsetResponse) { sum += max(0, o.At) })
	return sum
}

var publish = feed.Config{Publish: feed.Publish{Topic: "device/{source}/order"}}

func TestPublish(t *testing.T) {
	w := newWorld(t)
	s, stop := w.start(publish)
	w.write(1, 50)
	w.until("all are published", func() bool { return len(w.messages) == 50 })
	last := make(map[string]int)
	for _, m := range w.messages {
		var n int
		_, _ = fmt.Sscan(string(m.Payload), &n)
		if m.Topic != fmt.Sprintf("device/d%d/order", n%7) || m.QoS != message.AtLeastOnce || m.ContentType != "text/plain" || n <= last[m.Topic] {
			t.Errorf("%+v", m)
		}
		if len(m.Properties) != 1 || m.Properties[0] != (message.Property{Key: "n", Value: fmt.Sprint(n)}) {
			t.Errorf("properties are %v", m.Properties)
		}
		last[m.Topic] = n
	}
	w.until("the offsets are committed", func() bool { return w.committed() == 50 })
	stop()
	w.write(51, 60)
	w.start(publish)
	w.until("the next are published", func() bool { return len(w.messages) == 60 })
	if stats := s.Stats(); stats.Done != 50 || stats.InFlight != 0 || stats.Failures != 0 {
		t.Errorf("%+v", stats)
	}
}

// What is not safe is not committed, and comes again.
func TestNotSafe(t *testing.T) {
	w := newWorld(t)
	w.hold = true
	w.write(1, 20)
	_, stop := w.start(publish)
	w.until("all are published", func() bool { return len(w.messages) == 20 })
	go stop()
	w.until("some answers wait", func() bool { return len(w.held) == 20 })
	if n := w.committed(); n != 0 {
		t.Errorf("offset %d is committed", n)
	}
	w.release(errors.New("the disk is gone"))
	stop()
	if n := w.committed(); n != 0 {
		t.Errorf("offset %d is committed", n)
	}
	w.messages = nil
	w.start(publish)
	w.until("they come again", func() bool { return len(w.messages) == 20 })
	w.until("the offsets are committed", func() bool { return w.committed() == 20 })
}

// The node refuses for a while: the source says so, and goes on from where it was.
func TestNodeFails(t *testing.T) {
	w := newWorld(t)
	w.refuse = router.ErrStore
	s, _ := w.start(publish)
	w.write(1, 10)
	w.until("it fails", func() bool { stats := s.Stats(); return stats.State == feed.Failing && stats.Failures > 1 })
	w.mu.Lock()
	w.refuse = nil
	w.mu.Unlock()
	w.until("all are published", func() bool { return len(w.messages) >= 10 && s.Stats().State == feed.Running })
	w.until("the offsets are committed", func() bool { return w.committed() == 10 })
}

// Only so many are under way.
func TestBounds(t *testing.T) {
	w := newWorld(t)
	w.hold = true
	w.write(1, 20)
	c := publish
	c.InFlight = 5
	s, _ := w.start(c)
	w.until("five are under way", func() bool { return s.Stats().InFlight == 5 })
	w.until("the others wait", func() bool { return s.Stats().Lag == 20 })
	if stats := s.Stats(); stats.Taken != 5 {
		t.Errorf("%+v", stats)
	}
	w.release(nil)
	w.until("all are done", func() bool { return s.Stats().Done == 20 })
}

// Nothing can be made of some records. They are dead letters, and others go on.
func TestDeadLetters(t *testing.T) {
	w := newWorld(t)
	c := publish
	c.Publish.Topic = "device/{source}/{property.way}"
	s, _ := w.start(c)
	for _, way := range []string{"", "+", "good"} {
		r := &kgo.Record{Key: []byte("d"), Value: []byte(way), Headers: []kgo.RecordHeader{{Key: "way", Value: []byte(way)}}}
		if way == "" {
			r.Headers = nil
		}
		if err := w.client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	w.until("one is published", func() bool { return len(w.messages) == 1 && len(w.letters) == 2 })
	letter := w.letters[1]
	if letter.Topic != "$source/erp/dead" || string(letter.Payload) != "+" || letter.Properties[1].Key != "reason" || letter.Properties[3].Value != "orders" {
		t.Errorf("%+v", letter)
	}
	w.until("all are committed", func() bool { return w.committed() == 3 })
	if stats := s.Stats(); stats.Dead != 2 || stats.Done != 1 {
		t.Errorf("%+v", stats)
	}
}

// A record that comes again makes no second command, because its key is the same.
func TestCommands(t *testing.T) {
	w := newWorld(t)
	w.write(1, 10)
	for range 2 {
		_, stop := w.start(feed.Config{Command: feed.Command{Device: "{source}", Method: "order"}})
		w.until("all are commands", func() bool { return len(w.commands) == 10 })
		w.until("the offsets are committed", func() bool { return w.committed() == 10 })
		stop()
		if _, err := kadm.NewClient(w.client).DeleteGroups(t.Context(), "longline.erp"); err != nil {
			t.Fatal(err)
		}
	}
	w.start(feed.Config{Command: feed.Command{Device: "{source}", Method: "order"}})
	w.until("they come again", func() bool {
		for _, n := range w.commands {
			if n < 2 {
				return false
			}
		}
		return len(w.commands) == 10
	})
}

// Two gateways share a group while one comes and goes: nothing is lost, and what was safe does not come again.
func TestRebalance(t *testing.T) {
	w := newWorld(t)
	w.start(publish)
	w.write(1, 20)
	w.until("all are published", func() bool { return len(w.messages) == 20 })
	_, stop := w.start(publish)
	w.write(21, 60)
	w.until("all are published", func() bool { return len(w.messages) == 60 })
	stop()
	w.write(61, 80)
	w.until("all are published", func() bool { return len(w.messages) >= 80 })
	seen := make(map[string]int)
	for _, m := range w.messages {
		seen[string(m.Payload)]++
	}
	for payload, n := range seen {
		if n > 1 {
			t.Errorf("record %s came %d times", payload, n)
		}
	}
	if len(seen) != 80 {
		t.Errorf("%d records", len(seen))
	}
}

func TestAway(t *testing.T) {
	away := Config{Topics: []string{"orders"}, Timeout: time.Second}
	away.Brokers = []string{"127.0.0.1:1"}
	f, err := Open(away.WithDefaults(),
		feed.Options{Name: "erp", Watcher: new(reload.Watcher), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	err = f.Run(t.Context(), func(context.Context, *feed.Record, func(error)) error { return nil })
	if err == nil || feed.IsMisconfigured(err) || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
	f.Close()
}

// Headers that cannot be properties are left out and counted; the content type is found behind them.
func TestHeaders(t *testing.T) {
	left := newDrops(log)
	r := &kgo.Record{Topic: "orders"}
	add := func(key, value string) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}
	counted := func(properties int, text, room uint64) {
		t.Helper()
		got := convert(r, left)
		if n := len(got.Properties); n != properties || left[noText].N() != text || left[noRoom].N() != room || got.ContentType != "text/plain" {
			t.Errorf("%d properties, %d no text, %d no room, %q", n, left[noText].N(), left[noRoom].N(), got.ContentType)
		}
	}
	add("a", "b")
	add("raw", "\xff")
	add("zero", "\x00")
	add("\xfe", "x")
	add("content-type", "text/plain")
	counted(1, 3, 0)
	r.Headers = r.Headers[:1]
	for n := range mostHeaders + 5 {
		add(fmt.Sprint(n), "")
	}
	add("content-type", "text/plain")
	counted(mostHeaders, 3, 6)
	r.Headers = nil
	add("content-type", "text/plain")
	add("small", "x")
	add("large", strings.Repeat("x", mostHeaderBytes))
	add("behind", "x")
	counted(1, 3, 8)
}
