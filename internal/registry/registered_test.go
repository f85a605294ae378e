package registry

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/reload"
)

// fakeRegistry is an announcer that notes what it is told.
type fakeRegistry struct {
	mu    sync.Mutex
	told  []string // announce, renew, leave
	last  State
	fails error // the answer to all; errForgotten only to renew
	hangs bool  // until the context ends
}

func (f *fakeRegistry) answer(ctx context.Context, what string, s *State) error {
	f.mu.Lock()
	f.told = append(f.told, what)
	if s != nil {
		f.last = *s
	}
	err, hangs := f.fails, f.hangs
	if errors.Is(err, errForgotten) {
		f.fails = nil
		if what != "renew" {
			err = nil
		}
	}
	f.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (f *fakeRegistry) announce(ctx context.Context, s State) error {
	return f.answer(ctx, "announce", &s)
}
func (f *fakeRegistry) renew(ctx context.Context, _ State) error { return f.answer(ctx, "renew", nil) }
func (f *fakeRegistry) leave(ctx context.Context) error          { return f.answer(ctx, "leave", nil) }
func (f *fakeRegistry) close()                                   {}

func (f *fakeRegistry) take() (told []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	told, f.told = f.told, nil
	return told
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newRegistered(f *fakeRegistry, state func() State) *registered {
	return &registered{name: "fake", announcer: f, ttl: 30 * time.Second, registration: &Registration{state: state, log: quiet()}}
}

// The registry is told at once whether the gateway takes devices, of other changes at most every ten seconds, and otherwise that the gateway lives, every third of the time to live.
func TestTell(t *testing.T) {
	var f fakeRegistry
	r := newRegistered(&f, nil)
	at := time.Now()
	down := errors.New("down")
	for i, step := range []struct {
		after time.Duration
		state State
		fails error
		want  string
	}{
		{0, State{Weight: 80}, down, "announce"},
		{1, State{Weight: 80}, nil, "announce"},
		{1, State{Weight: 73}, nil, ""},         // less than a tenth
		{8, State{Weight: 50}, nil, ""},         // too early
		{1, State{Weight: 50}, nil, "announce"}, // ten seconds after the last
		{1, State{Weight: 50, Failed: "the node is draining"}, nil, "announce"},
		{1, State{Weight: 50, Failed: "a sync has taken 6s so far"}, nil, ""}, // too early
		{1, State{Weight: 50, Failed: "a sync has taken 7s so far"}, nil, ""},
		{8, State{Weight: 50, Failed: "a sync has taken 15s so far"}, nil, "announce"},
		{1, State{Weight: 50}, nil, "announce"},
		{9, State{Weight: 50}, nil, ""},
		{1, State{Weight: 50}, down, "renew"},
		{1, State{Weight: 50}, nil, "renew"},
		{9, State{Weight: 1}, down, "announce"},
		{1, State{Weight: 1}, nil, "announce"},
		{10, State{Weight: 2}, errForgotten, "announce"}, // 2 is more than a tenth above 1; it knows the gateway then
		{10, State{Weight: 2}, errForgotten, "renew"},
		{0, State{Weight: 2}, nil, "announce"},
	} {
		at = at.Add(step.after * time.Second)
		f.fails = step.fails
		_ = r.tell(t.Context(), at, step.state)
		if got := strings.Join(f.take(), " "); got != step.want {
			t.Errorf("step %d: told %q, want %q", i, got, step.want)
		}
		if step.want == "announce" && f.last != step.state {
			t.Errorf("step %d: it says %+v", i, f.last)
		}
	}
}

// startRegistered runs a registration with one fake registry.
func startRegistered(t *testing.T, f *fakeRegistry, state func() State) *Registration {
	t.Helper()
	each := newRegistered(f, state)
	r := each.registration
	r.all = []*registered{each}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	each.running.Go(func() { each.run(ctx) })
	t.Cleanup(func() { r.Leave(context.Background()) })
	return r
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// A gateway is announced, leaves once, and nothing is said afterwards.
func TestRegistration(t *testing.T) {
	var f fakeRegistry
	r := startRegistered(t, &f, func() State { return State{Weight: 7} })
	await(t, "the announcement", func() bool { return r.Registered()["fake"] })
	r.Leave(t.Context())
	r.Leave(t.Context())
	if told := f.take(); !slices.Equal(told, []string{"announce", "leave"}) || f.last.Weight != 7 || r.Registered()["fake"] {
		t.Errorf("told %v, %+v", told, f.last)
	}
}

// A registry that is away is told as soon as it is back.
func TestRegistrationWaitsForTheRegistry(t *testing.T) {
	f := fakeRegistry{fails: errors.New("away")}
	r := startRegistered(t, &f, func() State { return State{Weight: 7} })
	await(t, "several tries", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.told) > 2 })
	f.mu.Lock()
	f.fails = nil
	f.mu.Unlock()
	await(t, "the announcement", func() bool { return r.Registered()["fake"] })
}

// A registry that does not answer holds up nobody longer than the context.
func TestLeaveHasADeadline(t *testing.T) {
	f := fakeRegistry{hangs: true}
	r := startRegistered(t, &f, func() State { return State{Weight: 7} })
	await(t, "a try", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.told) > 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r.Leave(ctx)
	if told := f.take(); told[len(told)-1] != "leave" {
		t.Errorf("told %v", told)
	}
}

func TestRegisterConfig(t *testing.T) {
	eureka := RegisterEureka{Servers: []string{"http://10.0.0.5:8761"}}
	for want, c := range map[string]Register{
		"":                                     {Eureka: eureka},
		"service: want A-Z a-z":                {Service: "long line"},
		"ttl: want 5s to 10m0s":                {TTL: time.Second},
		"address: ":                            {Address: "0.0.0.0"},
		"consul.address: want a URL":           {Consul: RegisterConsul{Address: "ftp://10.0.0.5:8500"}},
		"consul.timeout: want 100ms to 30s":    {Consul: RegisterConsul{Timeout: time.Hour}},
		"nacos.servers: there is none":         {Nacos: RegisterNacos{Group: "g"}},
		"nacos.user: want both":                {Nacos: RegisterNacos{Servers: []string{"http://a"}, User: "ops"}},
		"nacos.service: @@ separates":          {Nacos: RegisterNacos{Servers: []string{"http://a"}, Group: "a@@b"}},
		"eureka.servers: want a URL":           {Eureka: RegisterEureka{Servers: []string{"a"}}},
		"eureka.tls.cert: want both cert and ": func() Register { e := eureka; e.TLS.Cert = "a"; return Register{Eureka: e} }(),
	} {
		err := c.WithDefaults().Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	missing := Register{Eureka: eureka}.WithDefaults()
	missing.Eureka.TLS.CA = "/no/such/file"
	if _, err := StartRegistration(missing, Self{Host: "a", Port: 1}, nil, new(reload.Watcher), quiet()); err == nil || !strings.HasPrefix(err.Error(), "eureka.tls.ca: ") {
		t.Errorf("%v", err)
	}
}

// Where others reach the gateway is register.address, and of the rest what it listens on.
func TestReach(t *testing.T) {
	for _, tt := range []struct{ address, listen, want string }{
		{"", "10.0.0.5:8080", "10.0.0.5 8080"},
		{"", "localhost:8080", "localhost 8080"},
		{"", "[::1]:8080", "::1 8080"},
		{"", ":8080", ""},
		{"", "0.0.0.0:8080", ""},
		{"", "[::]:8080", ""},
		{"gw-1.example.com", ":8080", "gw-1.example.com 8080"},
		{"gw-1.example.com:443", ":8080", "gw-1.example.com 443"},
		{"10.0.0.5:443", ":8080", "10.0.0.5 443"},
		{"fd00::1", ":8080", "fd00::1 8080"},
		{"[fd00::1]", ":8080", "fd00::1 8080"},
		{"[fd00::1]:443", ":8080", "fd00::1 443"},
		{"http://a", ":8080", ""},
		{"a:x", ":8080", ""},
		{"a/b", ":8080", ""},
		{"0.0.0.0:1", ":8080", ""},
	} {
		host, port, err := Register{Address: tt.address}.Reach(tt.listen)
		got := ""
		if err == nil {
			got = host + " " + strconv.Itoa(int(port))
		}
		if got != tt.want {
			t.Errorf("%q, %q: %q, %v; want %q", tt.address, tt.listen, got, err, tt.want)
		}
	}
}

func TestWeight(t *testing.T) {
	for _, tt := range []struct{ connections, limit, want int }{
		{0, 100_000, 100}, {50_000, 100_000, 50}, {99_999, 100_000, 1}, {100_000, 100_000, 1}, {100_001, 100_000, 1}, {0, 0, 1}, {1, 3, 66},
	} {
		if got := Weight(tt.connections, tt.limit); got != tt.want {
			t.Errorf("%d of %d: %d, want %d", tt.connections, tt.limit, got, tt.want)
		}
	}
}
