package feed

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/longline/longline/internal/command"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a source between another side and a node, which both are the test's.
type world struct {
	*testing.T
	there  *there
	node   *node
	source *Source
}

// inWorld runs a test with a source of these records, in a bubble. Both sides do what the test says once synctest.Wait has returned.
func inWorld(t *testing.T, c Config, r route.Config, test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, there: &there{news: make(chan struct{}, 1)}, node: &node{}}
		c := c.WithDefaults()
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		log := slog.New(slog.NewTextHandler(io.Discard, nil))
		opened, err := route.Open(r.WithDefaults(), route.Options{Watcher: new(reload.Watcher), Log: log})
		if err != nil {
			t.Fatal(err)
		}
		w.source, err = Start(SourceOptions{
			Name: "erp", Number: 3, Config: c, Route: opened, Feed: w.there, Log: log,
			Node: Node{
				Publish: w.node.publish, Broadcast: w.node.broadcast, Command: w.node.command,
				MaxPayload: 1000, Commands: command.Config{}.WithDefaults(),
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		test(w)
		w.node.answer(nil)
		w.source.Close()
		if n := w.there.closed; n != 1 {
			t.Errorf("the feed was closed %d times", n)
		}
	})
}

// give adds records to those that the other side has, and waits until nothing moves.
func (w *world) give(records ...*Record) {
	w.there.mu.Lock()
	w.there.records = append(w.there.records, records...)
	w.there.mu.Unlock()
	w.there.wake()
	synctest.Wait()
}

// wants compares what the node was asked for since the last call.
func (w *world) wants(all ...string) {
	w.Helper()
	synctest.Wait()
	w.node.mu.Lock()
	defer w.node.mu.Unlock()
	if got, want := strings.Join(w.node.asked, "\n"), strings.Join(all, "\n"); got != want {
		w.Errorf("the node was asked for\n%s\nwant\n%s", got, want)
	}
	w.node.asked = nil
}

// confirmed compares how many records are confirmed without a gap.
func (w *world) confirmed(want int) {
	w.Helper()
	synctest.Wait()
	w.there.mu.Lock()
	defer w.there.mu.Unlock()
	if w.there.safe != want {
		w.Errorf("%d records are confirmed, want %d", w.there.safe, want)
	}
}

// there is the other side, a Feed: it has records, and gives those again that were not confirmed without a gap when its last run ended.
type there struct {
	news chan struct{} // gets an element after a change

	mu sync.Mutex
	// Guarded by mu.
	records []*Record
	safe    int // of the first records
	runs    int
	err     error // ends runs
	closed  int
}

func (f *there) wake() {
	select {
	case f.news <- struct{}{}:
	default:
	}
}

func (f *there) Run(ctx context.Context, take Take) error {
	f.mu.Lock()
	f.runs++
	run, next := f.runs, f.safe
	f.mu.Unlock()
	confirmed := make(map[int]bool)
	for {
		f.mu.Lock()
		var r *Record
		if next < len(f.records) {
			r = f.records[next]
		}
		err := f.err
		f.mu.Unlock()
		if err != nil {
			return err
		}
		if r == nil {
			select {
			case <-f.news:
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		n := next
		err = take(ctx, r, func(err error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if err != nil || f.runs != run {
				return
			}
			for confirmed[n] = true; confirmed[f.safe]; f.safe++ {
			}
		})
		if err != nil {
			return err
		}
		next++
	}
}

// fail makes this run and the next ones end with err; nil lets them go on.
func (f *there) fail(err error) {
	f.mu.Lock()
	f.err = err
	f.mu.Unlock()
	f.wake()
}

func (f *there) Lag() (int64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(len(f.records) - f.safe), true
}

func (f *there) Close() { f.closed++ }

// node is what is asked for things. It answers at once, unless it holds its answers.
type node struct {
	mu sync.Mutex
	// Guarded by mu.
	asked []string
	last  *message.Message
	hold  bool
	held  []func(error)
	err   error // of what is asked for, without dead letters
	lost  error // of dead letters
}

// ask notes what was asked for, and answers.
func (n *node) ask(what string, letter bool, done func(error)) {
	n.mu.Lock()
	n.asked = append(n.asked, what)
	err := n.err
	if letter {
		err = n.lost
	}
	if n.hold {
		n.held = append(n.held, done)
		done = func(error) {}
	}
	n.mu.Unlock()
	done(err)
}

// answer gives the answers that are held, and lets what comes have its own at once.
func (n *node) answer(err error) {
	n.mu.Lock()
	held := n.held
	n.hold, n.held = false, nil
	n.mu.Unlock()
	for _, done := range held {
		done(err)
	}
}

// fail makes the node answer what is asked for with err, and dead letters with lost.
func (n *node) fail(err, lost error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err, n.lost = err, lost
}

// wait makes the node hold its answers, until answer is called. take returns those that it holds, and forgets them.
func (n *node) wait() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hold = true
}

func (n *node) take() (held []func(error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	held, n.held = n.held, nil
	return held
}

func (n *node) publish(m *message.Message, done func(error)) {
	n.mu.Lock()
	n.last = m
	n.mu.Unlock()
	text := fmt.Sprintf("%s %s q%d", m.Topic, m.Payload, m.QoS)
	if m.Retain {
		text += " retain"
	}
	n.ask(text, strings.HasPrefix(m.Topic, "$"), done)
}

func (n *node) broadcast(_ context.Context, m *message.Message, filter string, done func(error)) {
	n.ask(fmt.Sprintf("%s %s q%d to %q", m.Topic, m.Payload, m.QoS, filter), false, done)
}

func (n *node) command(_ context.Context, r *command.Request, ttl time.Duration, done func(error)) {
	text := fmt.Sprintf("%s: %s(%s) within %v, key %s", r.Device, r.Method, r.Payload, ttl, r.Key)
	if r.Exclusive {
		text += ", exclusive"
	}
	n.ask(text, false, done)
}

// numbered returns records from..to of one key, whose payloads are their numbers.
func numbered(from, to int) (all []*Record) {
	for n := from; n <= to; n++ {
		all = append(all, &Record{ID: fmt.Sprintf("orders/0@%d", n), Topic: "orders", Key: "m-7", Value: fmt.Append(nil, n), QoS: message.AtLeastOnce})
	}
	return all
}

// record returns a record with this value.
func record(value string) *Record {
	return &Record{ID: "orders/0@1", Topic: "orders", Key: "m-7", Value: []byte(value), QoS: message.AtLeastOnce}
}
