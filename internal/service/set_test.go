package service

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/setting"
)

func openSet(t testing.TB, c setting.Named[Config]) *Set {
	t.Helper()
	s, err := OpenSet(c, Options{Node: "3", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for _, one := range s.All() {
		if one.pool != nil {
			<-one.pool.known
		}
	}
	return s
}

// ask calls a service and waits for its reply.
func (s *Set) ask(t *testing.T, service string, c *Call) *Reply {
	t.Helper()
	replies := make(chan *Reply, 2)
	s.Begin(service, c, 20*time.Second, func(r *Reply) { replies <- r })
	select {
	case r := <-replies:
		return r
	case <-time.After(30 * time.Second):
		t.Fatal("no reply")
		return nil
	}
}

// An instance gets the payload as it is, and says in headers who asks; its answer is the reply.
func TestCallsOverHTTP(t *testing.T) {
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode([]string{r.Method, r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("Longline-Device"),
			r.Header.Get("Longline-Node"), r.Header.Get("Longline-Call"), r.Header.Get("traceparent"), string(body)})
	})
	s := openSet(t, setting.Named[Config]{"billing": {Source: registry.Source{Instances: []string{b.URL + "/v1"}}}})
	before := uint64(time.Now().UnixMicro())
	var ids [2]uint64
	for n := range ids {
		c := &Call{Device: "m-7", Method: "authorize", Payload: []byte("\x00x"), ContentType: "text/x", Trace: "00-1-2-01"}
		r := s.ask(t, "billing", c)
		var got []string
		if err := json.Unmarshal(r.Payload, &got); err != nil || r.Err.Code != "" || r.ContentType != "application/json" {
			t.Fatalf("%+v, %v", r, err)
		}
		var id uint64
		if err := json.Unmarshal([]byte(got[5]), &id); err != nil {
			t.Fatal(err)
		}
		if got[5] = "id"; strings.Join(got, " ") != "POST /v1/authorize text/x m-7 3 id 00-1-2-01 \x00x" || id != c.ID {
			t.Errorf("%q", got)
		}
		ids[n] = id
	}
	if ids[1] <= ids[0] || ids[0] > before+1 {
		t.Errorf("ids %d, at %d", ids, before)
	}
}

func TestRefusals(t *testing.T) {
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		switch strings.TrimPrefix(r.URL.Path, "/") {
		case "header":
			w.Header().Set("Longline-Error", "no_funds")
			http.Error(w, "not enough\nmoney\x01", http.StatusConflict)
		case "json":
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"code":"blocked","reason":"as `+strings.Repeat("ä", 200)+`"}`)
		case "word":
			w.Header().Set("Longline-Error", "No Word")
			w.WriteHeader(http.StatusNotFound)
		}
	})
	s := openSet(t, setting.Named[Config]{
		"billing": {Source: registry.Source{Instances: []string{b.URL}}}, "away": {Source: registry.Source{Instances: []string{nobody(t)}}}, "served": {Serve: true},
		"own": {Source: registry.Source{Instances: []string{b.URL}}, Private: true},
	})
	for _, c := range []struct{ service, method, code, reason string }{
		{"own", "header", UnknownService, "no service has this name"},
		{"billing", "header", "no_funds", "not enoughmoney"},
		{"billing", "json", "blocked", "as " + strings.Repeat("ä", 126)},
		{"billing", "word", Failed, "the service has answered with status 404"},
		{"billing", "../x", UnknownMethod, ""},
		{"billing", "", UnknownMethod, ""},
		{"billing", "..", UnknownMethod, ""},
		{"nobody", "x", UnknownService, ""},
		{"served", "x", Unavailable, ""},
	} {
		r := s.ask(t, c.service, &Call{Device: "m-7", Method: c.method})
		if r.Err.Code != c.code || c.reason != "" && r.Err.Reason != c.reason || r.Payload != nil {
			t.Errorf("%s/%s: %+v", c.service, c.method, r)
		}
	}
}

// Begin waits for nothing: what is too much is refused at once, and who does not wait any more is told soon.
func TestBeginIsBounded(t *testing.T) {
	b := newBackend(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.ReadAll(r.Body); <-r.Context().Done() })
	s := openSet(t, setting.Named[Config]{"billing": {Source: registry.Source{Instances: []string{b.URL}}, Concurrency: 1, Waiting: 2, Timeout: time.Minute}})
	replies := make(chan *Reply, 10)
	var cancels []func()
	for range 5 {
		cancels = append(cancels, s.Begin("billing", &Call{Device: "m-7", Method: "x"}, 0, func(r *Reply) { replies <- r }))
	}
	for n, want := range []string{Busy, Busy, Canceled, Canceled, Canceled} {
		if n == 2 {
			for _, cancel := range cancels {
				cancel()
			}
		}
		select {
		case r := <-replies:
			if r.Err.Code != want {
				t.Errorf("reply %d: %+v, want %s", n, r, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("no reply")
		}
	}
}
