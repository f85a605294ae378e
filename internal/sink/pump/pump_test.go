package pump_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/sink/sinktest"
	"github.com/longline/longline/internal/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ledger is another side that keeps the place, and whose answers get lost.
type ledger struct {
	mu     sync.Mutex
	place  map[string]uint64
	lines  map[string][][]byte
	random *rand.Rand
}

// exactTarget writes to a ledger.
type exactTarget struct {
	*ledger
	where string
}

func (x exactTarget) Prepare(v *route.View, r *pump.Record) (err error) {
	r.Value, _, err = v.Encoded()
	return err
}

func (x exactTarget) Place(context.Context) (uint64, bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.random.IntN(4) == 0 {
		return 0, false, errors.New("away")
	}
	place, known := x.place[x.where]
	return place, known, nil
}

func (x exactTarget) SendUpTo(ctx context.Context, records []*pump.Record, place uint64) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	fate := x.random.IntN(6)
	if fate == 0 {
		return errors.New("away before the transaction")
	}
	for i, r := range records {
		if string(r.Value) == bad {
			return pump.RefusedAt(i, errors.New("bad"))
		}
	}
	for _, r := range records {
		x.lines[x.where] = append(x.lines[x.where], r.Value)
	}
	x.place[x.where] = place
	if fate == 1 {
		return errors.New("away after the transaction")
	}
	return nil
}

func (x exactTarget) Send(context.Context, []*pump.Record) (int, error) {
	return 0, errors.New("no replay")
}

func (x exactTarget) Close() {}

// A target that keeps the place gets everything once, also when nobody knows whether its transactions were made.
func TestTransactional(t *testing.T) {
	l := &ledger{place: make(map[string]uint64), lines: make(map[string][][]byte), random: rand.New(rand.NewPCG(1, 2))} //nolint:gosec // a test
	sinktest.Run(t, sinktest.Server{
		Once: true, Bad: []byte(bad),
		Open: func(_ testing.TB, _, where string, _ pump.Options) pump.Target { return exactTarget{l, where} },
		Read: func(_ testing.TB, where string) [][]byte {
			l.mu.Lock()
			defer l.mu.Unlock()
			return slices.Clone(l.lines[where])
		},
		Config: pump.Config{Retry: pump.Retry{First: time.Millisecond, Most: 5 * time.Millisecond}},
	})
}

// scripted is a target whose answers the test gives.
type scripted struct {
	mu      sync.Mutex
	sent    []string                // what is confirmed, in order
	answer  func(text string) error // for each record, with mu held; nil confirms all
	blocked chan struct{}           // Send waits for it; nil does not
	closed  bool
}

func (s *scripted) Prepare(v *route.View, r *pump.Record) error {
	r.Value = v.Message().Payload
	if strings.HasPrefix(string(r.Value), "unfit") {
		return errors.New("it does not fit")
	}
	return nil
}

func (s *scripted) Send(ctx context.Context, records []*pump.Record) (int, error) {
	s.mu.Lock()
	blocked := s.blocked
	s.mu.Unlock()
	if blocked != nil {
		select {
		case <-blocked:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range records {
		if s.answer != nil {
			if err := s.answer(string(r.Value)); err != nil {
				return i, err
			}
		}
		s.sent = append(s.sent, string(r.Value))
	}
	return len(records), nil
}

func (s *scripted) Close() { s.closed = true }

func (s *scripted) set(answer func(text string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *scripted) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sent)
}

// world is a gateway with one sink.
type world struct {
	*testing.T
	*sinktest.Gateway
	target *scripted
	sink   pump.Sink
	pump   *pump.Pump
}

func newWorld(t *testing.T, change func(*pump.Sink)) *world {
	t.Helper()
	w := &world{T: t, Gateway: sinktest.NewGateway(t), target: new(scripted)}
	r, err := route.Open(route.Config{}.WithDefaults(), route.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.sink = pump.Sink{
		Name: "s", Node: 1, Stream: w.Streams.Get(sinktest.Stream), Letters: w.Streams.Get(pump.LettersStream),
		Config: pump.Config{Retry: pump.Retry{First: time.Millisecond, Most: 10 * time.Millisecond}, Lanes: 2},
		Route:  r, Target: w.target, Log: slog.New(slog.DiscardHandler), Publish: w.Gateway.Publish,
	}
	if change != nil {
		change(&w.sink)
	}
	w.sink.Config = w.sink.Config.WithDefaults()
	w.pump = pump.Start(w.sink)
	t.Cleanup(func() { w.close(0) })
	return w
}

func (w *world) close(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if w.pump == nil {
		return nil
	}
	err := w.pump.Close(ctx)
	w.pump = nil
	return err
}

// publish publishes payloads of one device, and waits until they are safe.
func (w *world) publish(texts ...string) {
	w.Helper()
	safe := make(chan error, len(texts))
	for _, text := range texts {
		w.Publish(&message.Message{Topic: "device/d/t", Source: "d", QoS: message.AtLeastOnce, Payload: []byte(text)}, func(err error) { safe <- err })
	}
	for range texts {
		if err := <-safe; err != nil {
			w.Fatal(err)
		}
	}
}

func (w *world) until(what string, reached func(pump.Stats) bool) {
	w.Helper()
	for deadline := time.Now().Add(30 * time.Second); !reached(w.pump.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("not after 30 s: %s: %+v, sent %v", what, w.pump.Stats(), w.target.got())
		}
	}
}

func (w *world) sent(texts ...string) {
	w.Helper()
	w.until(fmt.Sprint("sent ", texts), func(pump.Stats) bool { return slices.Equal(w.target.got(), texts) })
}

// A wrong configuration stops the sink, which goes on when it is resumed, with the message that it could not send.
func TestMisconfigured(t *testing.T) {
	w := newWorld(t, nil)
	w.target.set(func(text string) error {
		if text == "2" {
			return pump.Misconfigured(errors.New("wrong password"))
		}
		return nil
	})
	w.publish("1", "2", "3")
	w.until("stopped", func(s pump.Stats) bool { return s.State == pump.Stopped && s.Problem == "wrong password" })
	w.sent("1")
	w.target.set(nil)
	w.publish("4")
	w.sent("1")
	w.pump.Resume()
	w.sent("1", "2", "3", "4")
	w.until("running", func(s pump.Stats) bool { return s.State == pump.Running && s.Place == s.End && s.Dead == 0 })
}

// While the other side fails the sink says so, and nothing is lost when it is back.
func TestFailing(t *testing.T) {
	w := newWorld(t, nil)
	w.target.set(func(string) error { return errors.New("connection refused") })
	w.publish("1", "2")
	w.until("failing, and the breaker open", func(s pump.Stats) bool {
		return s.State == pump.Failing && s.Problem == "connection refused" && s.Breaker == "open"
	})
	w.target.set(nil)
	w.sent("1", "2")
	w.until("running", func(s pump.Stats) bool { return s.State == pump.Running && s.Breaker == "closed" })
}

// The other side may ask for a longer pause: what comes from it counts, and closing does not wait for it.
func TestRetryAfter(t *testing.T) {
	w := newWorld(t, nil)
	w.target.set(func(string) error { return pump.RetryAfter(time.Hour, errors.New("busy")) })
	w.publish("1")
	w.until("it has failed", func(s pump.Stats) bool { return s.Failures == 1 })
	if err := w.close(time.Minute); err == nil {
		t.Error("the message was not sent")
	}
	if !w.target.closed {
		t.Error("the target is open")
	}
}

// What is refused is a dead letter, once; what comes behind it goes on. A place that the dead letters have not is not passed.
func TestRefused(t *testing.T) {
	var mu sync.Mutex
	var held []func()
	w := newWorld(t, func(s *pump.Sink) {
		publish, refuse := s.Publish, true
		s.Publish = func(m *message.Message, done func(error)) {
			mu.Lock()
			defer mu.Unlock()
			if refuse {
				refuse = false
				done(errors.New("the stream is full"))
				return
			}
			held = append(held, func() { publish(m, done) })
		}
	})
	w.target.set(func(text string) error {
		if strings.HasPrefix(text, "bad") {
			return pump.Refused(errors.New(strings.Repeat("bad\xff", 1000)))
		}
		return nil
	})
	w.publish("1", "bad", "2", "unfit", "3")
	w.sent("1", "2", "3")
	w.until("two letters", func(pump.Stats) bool { mu.Lock(); defer mu.Unlock(); return len(held) == 2 })
	if s := w.pump.Stats(); s.Place != 2 || s.Dead != 0 {
		t.Errorf("%+v", s)
	}
	mu.Lock()
	for _, publish := range held {
		publish()
	}
	mu.Unlock()
	w.until("done", func(s pump.Stats) bool { return s.Place == s.End && s.Dead == 2 && s.DeadLost == 0 })
	if n := w.Streams.Get(pump.LettersStream).End(); n != 3 {
		t.Errorf("%d dead letters", n-1)
	}
}

// A dead letter that a sink of the dead letters refuses makes no other.
func TestRefusedLetter(t *testing.T) {
	w := newWorld(t, func(s *pump.Sink) { s.Stream = s.Letters })
	w.target.set(func(string) error { return pump.Refused(errors.New("no")) })
	w.Publish(&message.Message{Topic: pump.LettersTopic("other"), QoS: message.AtLeastOnce, Payload: []byte("x")}, func(error) {})
	w.until("it is given up", func(s pump.Stats) bool { return s.DeadLost == 1 && s.Place == s.End && s.Place == 2 })
}

// Close sends what was read, and the next pump begins behind it.
func TestCloseSendsWhatWasRead(t *testing.T) {
	w := newWorld(t, nil)
	open := make(chan struct{})
	w.target.blocked = open
	w.publish("1", "2", "3")
	w.until("read", func(s pump.Stats) bool { return s.Ahead == 3 })
	closed := make(chan error, 1)
	p := w.pump
	w.pump = nil
	go func() { closed <- p.Close(context.Background()) }()
	close(open)
	if err := <-closed; err != nil || len(w.target.got()) != 3 {
		t.Fatal(err, w.target.got())
	}
	w.pump = pump.Start(w.sink)
	w.publish("4")
	w.sent("1", "2", "3", "4")
}

// Close does not wait longer than it may for a target that hangs, and what it did not confirm comes again.
func TestCloseGivesUp(t *testing.T) {
	w := newWorld(t, nil)
	w.target.blocked = make(chan struct{})
	w.publish("1")
	w.until("under way", func(s pump.Stats) bool { return s.Ahead == 1 })
	if err := w.close(time.Millisecond); err == nil {
		t.Error("it was not sent")
	}
	w.target.blocked = nil
	w.pump = pump.Start(w.sink)
	w.sent("1")
}

// The reader waits while so much is in memory, whoever it is for.
func TestAhead(t *testing.T) {
	w := newWorld(t, func(s *pump.Sink) {
		s.Config.Batch = pump.Batch{Messages: 2}
		s.Config.Ahead = pump.Ahead{Messages: 5}
	})
	w.target.set(func(string) error { return errors.New("away") })
	var texts []string
	for n := range 20 {
		texts = append(texts, fmt.Sprint(n))
	}
	w.publish(texts...)
	w.until("full", func(s pump.Stats) bool { return s.Ahead == 5 && s.Failures > 3 })
	w.target.set(nil)
	w.sent(texts...)
}

// Another reader of the consumer takes over for a moment: the sink reads on, and nothing comes twice or is left out.
func TestTakenOver(t *testing.T) {
	w := newWorld(t, nil)
	w.publish("1")
	w.sent("1")
	r, err := w.sink.Stream.Open(pump.Consumer("s"), stream.First)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.publish("2", "3")
	w.sent("1", "2", "3")
	w.until("its place is known", func(pump.Stats) bool { return w.sink.Stream.Info().Consumers[0].Place == 4 })
}

// Somebody deletes the sink's consumer, or acknowledges for it, while the sink cannot read on: nothing is left out.
func TestConsumerDeleted(t *testing.T) {
	for name, spoil := range map[string]func(s *stream.Stream, done func(error)){
		"deleted":      func(s *stream.Stream, done func(error)) { _ = s.DeleteConsumer(pump.Consumer("s"), done) },
		"acknowledged": func(s *stream.Stream, done func(error)) { s.Acknowledge(pump.Consumer("s"), s.End(), done) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(s *pump.Sink) {
				s.Config.From = pump.Newest
				s.Config.Ahead.Messages = 2
				s.Config.Batch.Messages = 2
			})
			w.until("it has begun", func(s pump.Stats) bool { return s.Place == 1 })
			w.publish("1")
			w.sent("1")
			w.target.set(func(string) error { return errors.New("away") })
			w.publish("2", "3", "4", "5")
			w.until("full", func(s pump.Stats) bool { return s.Ahead == 2 })
			told := make(chan error, 1)
			spoil(w.sink.Stream, func(err error) { told <- err })
			if err := <-told; err != nil {
				t.Fatal(err)
			}
			if name == "acknowledged" { // the sink has to open it again
				r, err := w.sink.Stream.Open(pump.Consumer("s"), stream.Latest)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
			}
			w.target.set(nil)
			w.sent("1", "2", "3", "4", "5")
			w.until("its place is known", func(pump.Stats) bool {
				all := w.sink.Stream.Info().Consumers
				return len(all) == 1 && all[0].Place == 6
			})
			if err := w.close(time.Minute); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A replay that is stopped ends with what was read for it, so that not several are in memory of a sink that sends nothing.
func TestStopReplay(t *testing.T) {
	w := newWorld(t, func(s *pump.Sink) {
		s.Config.Ahead.Messages = 2
		s.Config.Batch.Messages = 2
	})
	w.publish("1", "2", "3", "4")
	w.sent("1", "2", "3", "4")
	w.until("all is done", func(s pump.Stats) bool { return s.Ahead == 0 })
	w.pump.Pause()
	if err := w.pump.Replay(pump.Range{}); err != nil {
		t.Fatal(err)
	}
	w.until("it has read ahead", func(s pump.Stats) bool { return s.Ahead == 2 })
	w.pump.StopReplay()
	if err := w.pump.Replay(pump.Range{}); !errors.Is(err, pump.ErrReplaying) {
		t.Errorf("another replay: %v", err)
	}
	w.pump.Resume()
	w.until("it has ended", func(s pump.Stats) bool { return s.Replay == nil })
	w.sent("1", "2", "3", "4", "1", "2")
	if err := w.pump.Replay(pump.Range{From: 4}); err != nil {
		t.Error(err)
	}
	w.sent("1", "2", "3", "4", "1", "2", "4")
}

// Close does not wait for more than a dead letter that is under way.
func TestCloseWithALetter(t *testing.T) {
	letters := make(chan func(), 1)
	w := newWorld(t, func(s *pump.Sink) {
		s.Config.Lanes = 8
		publish := s.Publish
		s.Publish = func(m *message.Message, done func(error)) { letters <- func() { publish(m, done) } }
	})
	w.publish("unfit")
	publish := <-letters
	closed, p := make(chan error, 1), w.pump
	w.pump = nil
	go func() { closed <- p.Close(context.Background()) }()
	time.AfterFunc(50*time.Millisecond, publish)
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it waits for ever")
	}
}

// A new sink begins with what comes, if it is to.
func TestFromNewest(t *testing.T) {
	w := newWorld(t, nil)
	w.publish("1")
	w.sent("1")
	if err := w.close(time.Minute); err != nil {
		t.Fatal(err)
	}
	w.sink.Name, w.sink.Config.From, w.target = "other", pump.Newest, new(scripted)
	w.sink.Target = w.target
	w.pump = pump.Start(w.sink)
	w.until("it has begun", func(s pump.Stats) bool { return s.Place == 2 })
	w.publish("2")
	w.sent("2")
}

// What the stream is told of the place never is ahead of what is confirmed.
func TestDone(t *testing.T) {
	var mu sync.Mutex
	var places []uint64
	w := newWorld(t, func(s *pump.Sink) {
		s.Done = func(place uint64) { mu.Lock(); defer mu.Unlock(); places = append(places, place) }
	})
	w.target.set(func(text string) error {
		if text == "2" {
			return errors.New("away")
		}
		return nil
	})
	w.publish("1", "2", "3")
	told := func(place uint64) func(pump.Stats) bool {
		return func(pump.Stats) bool {
			mu.Lock()
			defer mu.Unlock()
			return len(places) > 0 && slices.Max(places) == place
		}
	}
	w.until("told of one", told(2))
	w.target.set(nil)
	w.until("told of all", told(4))
}
