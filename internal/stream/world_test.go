package stream

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/journal/journaltest"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/store"
)

// small are sizes of which a few entries fill a segment.
var small = journal.Options{SegmentSize: 8 << 10, Pending: 2 << 10}

// world is a node with one stream, on disks that outlive it.
type world struct {
	t      *testing.T
	config Config
	disk   *journaltest.Disk
	values *places
	router *router.Router
	set    *Set
	s      *Stream
}

// places is a store of which consumers' places alone survive.
type places struct {
	*store.Memory
	mu    sync.Mutex
	now   map[string][]byte
	safe  map[string][]byte
	err   error
	fence []func(error) // that wait until release, if held
	held  bool
	fails error // what Err says
	puts  int
}

func (p *places) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fails
}

func newPlaces(safe map[string][]byte) *places {
	return &places{Memory: store.NewMemory(store.Options{}), now: maps.Clone(safe), safe: maps.Clone(safe)}
}

func (p *places) Put(_ store.Space, key string, value []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.puts++; p.now == nil {
		p.now = make(map[string][]byte)
	}
	if value == nil {
		delete(p.now, key)
		return
	}
	p.now[key] = value
}

func (p *places) Commit(done func(error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fence = append(p.fence, done)
	if !p.held {
		go p.release()
	}
}

// release answers all fences.
func (p *places) release() {
	p.mu.Lock()
	fences, err := p.fence, p.err
	p.fence = nil
	if err == nil {
		p.safe = maps.Clone(p.now)
	}
	p.mu.Unlock()
	for _, done := range fences {
		done(err)
	}
}

// kept returns what a kill leaves.
func (p *places) kept() map[string][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.safe)
}

var quietLog = slog.New(slog.NewTextHandler(io.Discard, nil))

func newWorld(t *testing.T, c Config) *world {
	t.Helper()
	w := &world{t: t, config: c, disk: journaltest.New(), values: newPlaces(nil)}
	w.start()
	t.Cleanup(w.stop)
	return w
}

// start starts a node. It must succeed.
func (w *world) start() {
	w.t.Helper()
	if err := w.try(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) try() error {
	if len(w.config.Filters) == 0 {
		w.config.Filters = []string{"t/#"}
	}
	if w.config.MaxBytes == 0 {
		w.config.MaxBytes = 1 << 20
	}
	w.config = w.config.WithDefaults()
	w.router = router.New(router.Config{MaxWait: time.Minute}, w.values)
	set, err := Open("", setting.Named[Config]{"s": w.config}, Options{
		Router: w.router, Store: w.values, Places: w.values.kept(), Log: quietLog,
		files: func(string) journal.FS { return w.disk }, sizes: small,
	})
	if err != nil {
		return err
	}
	w.set, w.s = set, set.Get("s")
	return nil
}

// stop ends the node. Then each message that came has a fate.
func (w *world) stop() {
	if w.set == nil {
		return
	}
	_ = w.set.Close() // where it matters, tests call Close
	w.set = nil
	if l := w.s.Ledger(); l.Difference() != 0 || l.Waiting != 0 {
		w.t.Errorf("the ledger does not balance: %+v", l)
	}
}

// restart ends the node in order and starts it again.
func (w *world) restart() {
	w.t.Helper()
	if err := w.set.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.set = nil
	w.values = newPlaces(w.values.kept())
	w.start()
}

// publish publishes n messages of QoS 1 one by one, and waits for their answers. The payload has a number from from on.
func (w *world) publish(from, n int) {
	w.t.Helper()
	for i := range n {
		if err := w.one(from+i, message.AtLeastOnce); err != nil {
			w.t.Fatalf("message %d: %v", from+i, err)
		}
	}
}

func (w *world) one(number int, q message.QoS) error {
	return w.send(&message.Message{Topic: "t/a", Payload: fmt.Appendf(nil, "%0200d", number), QoS: q, Source: "meter"})
}

func (w *world) send(m *message.Message) error {
	answer := make(chan error, 1)
	result, err := w.router.Publish(m, func(err error) { answer <- err })
	if result.Later {
		return <-answer
	}
	return err
}

// open opens a reader, which must succeed.
func (w *world) open(consumer string, from Start) *Reader {
	w.t.Helper()
	r, err := w.s.Open(consumer, from)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// rest takes all that is there, and returns the payloads' numbers and how many entries were missed.
func (w *world) rest(r *Reader) (numbers []int, missed uint64) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Millisecond) // of a bubble's clock, so until nothing happens any more
	defer cancel()
	for {
		batch, n, err := r.Take(ctx, 1000, 1<<20, nil)
		if err != nil {
			return numbers, missed
		}
		missed += n
		for _, e := range batch {
			numbers = append(numbers, numberOf(w.t, e))
		}
	}
}

func numberOf(t testing.TB, e Entry) (n int) {
	t.Helper()
	if _, err := fmt.Sscanf(string(e.Message.Payload), "%d", &n); err != nil {
		t.Fatalf("payload %q: %v", e.Message.Payload, err)
	}
	return n
}

// acknowledge waits until a place is safe.
func (w *world) acknowledge(consumer string, place uint64) {
	w.t.Helper()
	answer := make(chan error, 1)
	w.s.Acknowledge(consumer, place, func(err error) { answer <- err })
	if err := <-answer; err != nil {
		w.t.Fatalf("acknowledge %d of %s: %v", place, consumer, err)
	}
}

// upTo returns the numbers from <= n < to.
func upTo(from, to int) (numbers []int) {
	for n := from; n < to; n++ {
		numbers = append(numbers, n)
	}
	return numbers
}
