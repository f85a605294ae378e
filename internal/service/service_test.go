package service

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/registry"
)

func TestCall(t *testing.T) {
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, r.Method+" "+r.URL.Path+" "+r.Header.Get("Longline-Device")+" "+string(body))
	})
	s := openService(t, Config{Source: registry.Source{Instances: []string{b.URL + "/api/"}}})
	a, err := s.Do(t.Context(), &Request{Method: "PUT", Path: "/authorize", Header: http.Header{"Longline-Device": {"m-7"}}, Body: []byte("x")})
	if err != nil || a.Status != http.StatusTeapot || string(a.Body) != "PUT /api/authorize m-7 x" || a.ContentType != "text/plain" ||
		a.Instance != b.URL+"/api" {
		t.Errorf("%+v, %v", a, err)
	}
}

// What an instance cannot have begun is done by another; what it may have begun, only if it may be done twice.
func TestRepetitions(t *testing.T) {
	good := newBackend(t, says("good"))
	cut := newBackend(t, cuts)
	unavailable := newBackend(t, status(http.StatusServiceUnavailable))
	for _, c := range []struct {
		name       string
		first      string
		idempotent bool
		good       bool
	}{
		{"nobody listens", nobody(t), false, true},
		{"cut", cut.URL, false, false},
		{"cut, idempotent", cut.URL, true, true},
		{"503", unavailable.URL, false, false},
		{"503, idempotent", unavailable.URL, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openService(t, Config{Source: registry.Source{Instances: []string{c.first, good.URL}}, Choose: RoundRobin})
			failed := 0
			for range 4 {
				a, err := s.get(t, c.idempotent)
				switch {
				case err == nil && string(a.Body) == "good":
				case errors.Is(err, ErrFailed) && strings.Contains(err.Error(), c.first) && !strings.Contains(err.Error(), "authorize"):
					failed++
				default:
					t.Errorf("%v, %v", a, err)
				}
			}
			if (failed == 0) != c.good {
				t.Errorf("%d of 4 failed", failed)
			}
		})
	}
}

// Repetitions are at most a tenth of the calls, after the first few.
func TestRetryBudget(t *testing.T) {
	bad, worse := newBackend(t, cuts), newBackend(t, cuts)
	s := openService(t, Config{Source: registry.Source{Instances: urls(bad, worse)}, Choose: RoundRobin, EjectAfter: 1 << 20, OpenAfter: 1 << 20})
	for range 200 {
		if _, err := s.get(t, true); !errors.Is(err, ErrFailed) {
			t.Fatal(err)
		}
	}
	if n := bad.count() + worse.count(); n != 200+10+20 {
		t.Errorf("%d calls for 200, want 230", n)
	}
}

// An instance that fails is left out, another at the same time is not, and both are called again later.
func TestEjection(t *testing.T) {
	bad, worse, good := newBackend(t, cuts), newBackend(t, cuts), newBackend(t, says("good"))
	s := openService(t, Config{Source: registry.Source{Instances: urls(bad, worse, good)}, Choose: RoundRobin, EjectAfter: 3, EjectFor: time.Minute, OpenAfter: 1 << 20})
	now := time.Now()
	var mu sync.Mutex
	s.pool.now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	for range 60 {
		_, _ = s.get(t, false)
	}
	// One of three may be left out: half of them is one.
	n, m := bad.count(), worse.count()
	if min(n, m) != 3 || max(n, m) < 20 || s.Info().Ejected != 1 {
		t.Errorf("called %d and %d times, %d ejected", n, m, s.Info().Ejected)
	}
	mu.Lock()
	now = now.Add(61 * time.Second)
	mu.Unlock()
	bad.become(says("good"))
	worse.become(says("good"))
	for range 30 {
		if _, err := s.get(t, false); err != nil {
			t.Fatal(err)
		}
	}
	if bad.count() < n+8 || worse.count() < m+8 {
		t.Errorf("called %d and %d times more", bad.count()-n, worse.count()-m)
	}
}

func TestBreaker(t *testing.T) {
	bad := newBackend(t, cuts)
	s := openService(t, Config{Source: registry.Source{Instances: urls(bad)}, OpenAfter: 3, OpenFor: time.Hour})
	for range 5 {
		_, err := s.get(t, false)
		if bad.count() < 3 && !errors.Is(err, ErrFailed) {
			t.Fatal(err)
		}
	}
	if _, err := s.get(t, true); !errors.Is(err, ErrOpen) || bad.count() != 3 {
		t.Errorf("%v after %d calls", err, bad.count())
	}
}

func TestBounds(t *testing.T) {
	release := make(chan struct{})
	slow := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	s := openService(t, Config{Source: registry.Source{Instances: urls(slow)}, Concurrency: 2, Waiting: 3, Timeout: 30 * time.Second})
	var calls sync.WaitGroup
	errs := make(chan error, 10)
	for range 10 {
		calls.Go(func() {
			_, err := s.get(t, false)
			errs <- err
		})
	}
	for range 5 { // two are called, three wait
		if err := <-errs; !errors.Is(err, ErrBusy) {
			t.Errorf("%v, want %v", err, ErrBusy)
		}
	}
	close(release)
	calls.Wait()
	for range 5 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	large := newBackend(t, says(strings.Repeat("x", 1001)))
	if _, err := openService(t, Config{Source: registry.Source{Instances: urls(large)}, MaxAnswer: 1000}).get(t, true); !errors.Is(err, ErrTooLarge) || large.count() != 1 {
		t.Errorf("an answer that is too large: %v", err)
	}
	moved := newBackend(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, large.URL, http.StatusFound) })
	if a, err := openService(t, Config{Source: registry.Source{Instances: urls(moved)}}).get(t, true); err != nil || a.Status != http.StatusFound {
		t.Errorf("a redirection: %+v, %v", a, err)
	}
	never := newBackend(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.ReadAll(r.Body); <-r.Context().Done() })
	if _, err := openService(t, Config{Source: registry.Source{Instances: urls(never)}, Timeout: 20 * time.Millisecond}).get(t, true); !errors.Is(err, ErrTimeout) {
		t.Errorf("no answer: %v", err)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	other := openService(t, Config{Source: registry.Source{Instances: urls(never)}, OpenAfter: 1})
	if _, err := other.Do(gone, &Request{Method: "GET"}); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that has gone: %v", err)
	}
	never.become(says("good"))
	if _, err := other.get(t, false); err != nil {
		t.Errorf("after a caller that has gone: %v", err)
	}
}

func TestHTTP2WithoutTLS(t *testing.T) {
	b := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	b.Config.Protocols = new(http.Protocols)
	b.Config.Protocols.SetUnencryptedHTTP2(true)
	b.Start()
	defer b.Close()
	if a, err := openService(t, Config{Source: registry.Source{Instances: []string{b.URL}}, Protocol: "h2c"}).get(t, false); err != nil || string(a.Body) != "HTTP/2.0" {
		t.Errorf("%+v, %v", a, err)
	}
}

// fakeRegistry is a Discovery that a test controls.
type fakeRegistry struct {
	mu  sync.Mutex
	set []registry.Instance
	err error
}

func (r *fakeRegistry) Close() {}

func (r *fakeRegistry) Pause() time.Duration { return time.Millisecond }

func (r *fakeRegistry) Find(context.Context) ([]registry.Instance, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.set, r.err
}

func (r *fakeRegistry) become(err error, set ...registry.Instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set, r.err = set, err
}

// A registry that is down changes nothing; before it was ever up, calls wait for it; what it names wrongly is left out.
func TestRegistryDown(t *testing.T) {
	b := newBackend(t, says("good"))
	r := &fakeRegistry{err: errors.New("down")}
	p, err := newPool("billing", Config{Timeout: 30 * time.Millisecond}.WithDefaults(), r, Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{name: "billing", pool: p, answerer: p}
	defer s.Close()
	if _, err := s.get(t, false); !errors.Is(err, ErrNoInstance) {
		t.Errorf("before the registry is known: %v", err)
	}
	p.config.Timeout = 10 * time.Second
	r.become(nil, registry.Instance{URL: b.URL}, registry.Instance{URL: "ftp://no"}, registry.Instance{URL: b.URL})
	if _, err := s.get(t, false); err != nil {
		t.Fatal(err)
	}
	if n := len(*p.instances.Load()); n != 1 {
		t.Errorf("%d instances", n)
	}
	r.become(errors.New("down"))
	for s.down() == nil {
		time.Sleep(time.Millisecond) // until it has looked
	}
	if _, err := s.get(t, false); err != nil {
		t.Errorf("while the registry is down: %v", err)
	}
}

func (s *Service) down() error {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return s.pool.problem
}
