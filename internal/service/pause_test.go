package service

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/longline/longline/internal/registry"
)

func TestPause(t *testing.T) {
	soon := time.Now().Add(10 * time.Minute).UTC().Format(http.TimeFormat)
	for _, c := range []struct {
		text     string
		from, to time.Duration
	}{
		{"", 0, 0},
		{"120", 2 * time.Minute, 2 * time.Minute},
		{"0", 0, 0},
		{"-1", 0, 0},
		{"4294967295", time.Hour, time.Hour},
		{"99999999999999999999", 0, 0},
		{"1.5", 0, 0},
		{"Fri, 31 Dec 9999 23:59:59 GMT", time.Hour, time.Hour},
		{"Fri, 31 Dec 1999 23:59:59 GMT", 0, 0},
		{soon, 9 * time.Minute, 10 * time.Minute},
		{"soon", 0, 0},
	} {
		if got := (&Answer{RetryAfter: c.text}).Pause(); got < c.from || got > c.to {
			t.Errorf("%q is %v", c.text, got)
		}
	}
}

// The pause is known also if the answer counts as a failure.
func TestPauseOfFailures(t *testing.T) {
	b := newBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	s := openService(t, Config{Source: registry.Source{Instances: urls(b)}})
	if _, err := s.get(t, true); Pause(err) != 7*time.Second {
		t.Errorf("%v has a pause of %v", err, Pause(err))
	}
	if Pause(nil) != 0 || Pause(ErrBusy) != 0 {
		t.Error("a pause of nobody")
	}
}

// A service that speaks gRPC has no requests of HTTP.
func TestDoNeedsHTTP(t *testing.T) {
	s := openService(t, Config{Source: registry.Source{Instances: []string{nobody(t)}}, Protocol: GRPC})
	if _, err := s.get(t, true); !errors.Is(err, ErrGRPC) {
		t.Error(err)
	}
}
