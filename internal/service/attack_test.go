package service

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/topic"
)

// A call never comes without the device that makes it, however long its id is.
func TestLongestDevice(t *testing.T) {
	device, err := topic.DeviceID(strings.Repeat("|", 128))
	if err != nil {
		t.Fatal(err)
	}
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Longline-Device"))
	})
	s := openSet(t, setting.Named[Config]{"billing": {Source: registry.Source{Instances: urls(b)}}})
	if got := s.ask(t, "billing", &Call{Device: device, Method: "authorize"}); string(got.Payload) != device {
		t.Errorf("the instance hears of device %q, want %q: %+v", got.Payload, device, got.Err)
	}
}

// A reason does not keep the large answer in memory that it was cut from.
func TestReasonIsACopy(t *testing.T) {
	answer := strings.Repeat("a", 1<<20)
	if r := CutReason(answer); unsafe.StringData(r) == unsafe.StringData(answer) {
		t.Error("the reason is a part of the answer")
	}
}

// A device whose requests break the instances does not take the service from the others.
func TestBreakerOfOneDevice(t *testing.T) {
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/poison" {
			cuts(w, r)
		}
	})
	s := openSet(t, setting.Named[Config]{"billing": {Source: registry.Source{Instances: urls(b)}, OpenAfter: 5, OpenFor: time.Hour}})
	good, poison := &Call{Device: "good", Method: "authorize"}, &Call{Device: "bad", Method: "poison"}
	s.ask(t, "billing", good)
	s.ask(t, "billing", &Call{Device: "bad", Method: "authorize"})
	for range 20 {
		if r := s.ask(t, "billing", poison); r.Err.Code != Failed {
			t.Fatalf("a call that breaks the connection: %+v", r.Err)
		}
	}
	if r := s.ask(t, "billing", good); r.Err.Code != "" {
		t.Errorf("another device gets %+v", r.Err)
	}
	for n := range 5 {
		s.ask(t, "billing", &Call{Device: string(rune('a' + n)), Method: "poison"})
	}
	if state := s.Get("billing").Breaker().State(); state != "open" {
		t.Errorf("the breaker is %s after failures of many devices", state)
	}
}

// Where one device alone calls, its failures are the service's.
func TestBreakerOfTheOnlyDevice(t *testing.T) {
	b := newBackend(t, cuts)
	s := openSet(t, setting.Named[Config]{"billing": {Source: registry.Source{Instances: urls(b)}, OpenAfter: 5, OpenFor: time.Hour}})
	for range 5 {
		s.ask(t, "billing", &Call{Device: "m-7", Method: "authorize"})
	}
	if state := s.Get("billing").Breaker().State(); state != "open" {
		t.Errorf("the breaker is %s", state)
	}
}
