package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// medium is a durable store of values whose fences pass when the test says so.
type medium struct {
	store.Store

	mu     sync.Mutex
	safe   map[string][]byte
	ops    []put // not safe yet
	fences []fence
	err    error
}

type put struct {
	key   string
	value []byte
}

type fence struct {
	ops  int // before it, of those that are not safe
	done func(error)
}

func newMedium() *medium {
	return &medium{Store: store.NewMemory(store.Options{}), safe: make(map[string][]byte)}
}

func (s *medium) Durable() bool { return true }

func (s *medium) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *medium) Put(store.Space, string, []byte) { panic("the value belongs to a device") }

func (s *medium) PutFor(_ string, _ store.Space, key string, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ops = append(s.ops, put{key, slices.Clone(value)})
}

func (s *medium) Commit(done func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fences = append(s.fences, fence{len(s.ops), done})
}

// sync makes everything safe, also what is added because of that.
func (s *medium) sync() {
	for s.pass(nil) {
	}
}

// pass lets the oldest fence pass or fail, and reports whether there was one.
func (s *medium) pass(err error) bool {
	s.mu.Lock()
	if len(s.fences) == 0 {
		s.mu.Unlock()
		return false
	}
	f := s.fences[0]
	s.fences = s.fences[1:]
	if err == nil {
		for _, op := range s.ops[:f.ops] {
			if op.value == nil {
				delete(s.safe, op.key)
			} else {
				s.safe[op.key] = op.value
			}
		}
		s.ops = s.ops[f.ops:]
		for i := range s.fences {
			s.fences[i].ops -= f.ops
		}
	}
	s.mu.Unlock()
	f.done(err)
	return true
}

// fail sets what Err says.
func (s *medium) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// restarted is what a kill leaves.
func (s *medium) restarted() *medium {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &medium{Store: s.Store, safe: maps.Clone(s.safe)}
}

// world is a manager on a medium, and the sessions of its devices.
type world struct {
	t       *testing.T
	config  Config
	medium  *medium
	manager *Manager

	mu     sync.Mutex
	online map[string]bool
	woken  []string
}

// inWorld runs a test in a bubble with a virtual clock.
func inWorld(t *testing.T, c Config, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, config: c, medium: newMedium(), online: make(map[string]bool)}
		w.open()
		test(w)
		w.manager.Close()
	})
}

func (w *world) open() {
	w.manager = Open(w.config, w.medium, w.medium.safe, slog.New(slog.NewTextHandler(w.t.Output(), nil)))
	w.manager.Start(w)
}

// restart kills the node and starts it again. All devices are away then.
func (w *world) restart() {
	w.manager.Close()
	w.medium = w.medium.restarted()
	w.online = make(map[string]bool)
	w.open()
}

func (w *world) Online(device string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.online[device]
}

func (w *world) SendCommands(device string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.woken = append(w.woken, device)
}

// wokenNow returns which devices were woken since it was last asked.
func (w *world) wokenNow() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := strings.Join(w.woken, " ")
	w.woken = nil
	return all
}

func (w *world) connect(device string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.online[device] = true
}

func (w *world) leave(device string) {
	w.mu.Lock()
	w.online[device] = false
	w.mu.Unlock()
	w.manager.Cut(device)
}

// begin begins to create a command.
func (w *world) begin(r Request, ttl time.Duration) <-chan created {
	got := make(chan created, 1)
	go func() {
		c, existed, err := w.manager.Create(context.Background(), &r, ttl)
		got <- created{c, existed, err}
	}()
	synctest.Wait()
	return got
}

type created struct {
	*Command
	existed bool
	err     error
}

// create creates a command of the device d, and makes it safe.
func (w *world) create(method string, ttl time.Duration, more ...func(*Request)) *Command {
	w.t.Helper()
	r := Request{Device: "d", Method: method, Payload: []byte("p")}
	for _, change := range more {
		change(&r)
	}
	got := w.begin(r, ttl)
	w.medium.sync()
	c := <-got
	if c.err != nil {
		w.t.Fatal(c.err)
	}
	return c.Command
}

// take is what a loop does that sends the device d its commands: it returns their methods.
func (w *world) take() string {
	w.t.Helper()
	var all []string
	for {
		s, ok := w.manager.Take("d")
		if !ok {
			if w.medium.pass(nil) {
				continue
			}
			return strings.Join(all, " ")
		}
		w.manager.Handed(s, "s1", 1)
		name := s.Method
		if s.Again {
			name += "-again"
		}
		all = append(all, name)
	}
}

// answer answers a command with the payload ok, or an error, and makes that safe.
func (w *world) answer(c *Command, code string) bool {
	awaited := w.manager.Answer(c.Device, c.ID, []byte("ok"), "text/plain", wire.Error{Code: code})
	w.medium.sync()
	return awaited
}

// state returns what backends see.
func (w *world) state(c *Command) string {
	w.t.Helper()
	now, err := w.manager.Get(c.ID)
	if errors.Is(err, ErrUnknown) {
		return "forgotten"
	}
	s := fmt.Sprintf("%v, attempts %d", now.State, now.Attempts)
	for _, a := range []*Answer{now.Answer, now.Late} {
		if a != nil {
			s += fmt.Sprintf(", %s%s", a.Payload, a.Err.Code)
		}
	}
	if now.Late != nil {
		s += ", late"
	}
	if now.Held != "" {
		s += ", held: " + now.Held
	}
	return s
}

func (w *world) wants(c *Command, want string) {
	w.t.Helper()
	if got := w.state(c); got != want {
		w.t.Errorf("%s is %s, want %s", c.Method, got, want)
	}
}

func expect[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
