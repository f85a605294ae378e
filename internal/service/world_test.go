package service

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend is an instance that a test controls.
type backend struct {
	*httptest.Server

	mu    sync.Mutex
	serve http.HandlerFunc
	calls int
}

func newBackend(t *testing.T, serve http.HandlerFunc) *backend {
	t.Helper()
	b := &backend{serve: serve}
	b.Server = httptest.NewServer(b)
	t.Cleanup(b.Close)
	return b
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.calls++
	serve := b.serve
	b.mu.Unlock()
	serve(w, r)
}

func (b *backend) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls
}

func (b *backend) become(serve http.HandlerFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serve = serve
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// cuts closes the connection when it has the request.
func cuts(w http.ResponseWriter, _ *http.Request) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = c.Close()
	}
}

// nobody returns the URL of a port on which nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

func urls(all ...*backend) []string {
	list := make([]string, len(all))
	for i, b := range all {
		list[i] = b.URL
	}
	return list
}

func openService(t *testing.T, c Config) *Service {
	t.Helper()
	c.Timeout = cmp.Or(c.Timeout, time.Minute)
	s, err := Open("billing", c, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	<-s.pool.known
	return s
}

func (s *Service) get(t *testing.T, idempotent bool) (*Answer, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return s.Do(ctx, &Request{Method: "POST", Path: "/authorize", Body: []byte("body"), Idempotent: idempotent})
}
