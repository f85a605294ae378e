package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// TestJSONByHand checks what curl sends and gets.
func TestJSONByHand(t *testing.T) {
	w := newWorld(t, Config{}, router.Config{})
	w.connect(t, "a", new(fakeDevice), "t")
	for _, test := range []struct {
		method, body string
		status       int
		want         string
	}{
		{"Publish", `{"message":{"topic":"t","text":"{\"v\":1}","qos":1,"expiry":"60s"}}`, 200, `{"receivers":1}`},
		{"Publish", `{"message":{"topic":"none","payload":"AAE="}}`, 200, `{"receivers":0}`},
		{"Publish", `{"message":{"topic":"t/#"}}`, 400, `{"code":"invalid_argument","message":"message.topic level 2 has a wildcard, which only filters may have"}`},
		{"Publish", `{"message":{"topik":"t"}}`, 400, `unknown field \"topik\"`},
		{"Publish", ``, 400, `the body is empty`},
		{"Publish", `{"message":{"topic":"t","expiry":"soon"}}`, 400, `invalid_argument`},
		{"Publish", `{"message":{"topic":"t","text":"` + strings.Repeat("x", 1<<20) + `"}}`, 429, `resource_exhausted`},
		{"ListDevices", `{"page_size":1,"state":"STATE_AWAY"}`, 200, `{"devices":[],"next_page_token":""}`},
		{"GetDevice", `{"device":"b"}`, 404, `{"code":"not_found","message":"the device has no session"}`},
		{"Call", `{"device":"b","method":"m"}`, 404, `{"code":"not_found","message":"the device has no session"}`},
		{"Disconnect", `{"device":"a"}`, 200, `{"disconnected":true}`},
		{"Drain", `{}`, 200, `{}`},
	} {
		r, err := w.h1.Post(w.url+"/longline.v1.Gateway/"+test.method, "application/json", strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		got := compact(t, r.Body)
		r.Body.Close()
		if r.StatusCode != test.status || !strings.Contains(got, test.want) {
			t.Errorf("%s %.100s: got %d %s; want %d %s", test.method, test.body, r.StatusCode, got, test.status, test.want)
		}
	}
}

// compact removes the white space that protojson varies.
func compact(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if json.Compact(&out, b) != nil {
		return string(b)
	}
	return strings.ReplaceAll(out.String(), "\u00a0", " ") // protojson varies this blank in its errors
}

func TestPagesOfTheAdminPort(t *testing.T) {
	w := newWorld(t, Config{}, router.Config{})
	for path, want := range map[string]string{
		"/":                            index,
		"/healthz":                     "ok\n",
		"/readyz":                      "devices ok\nstore ok\n",
		"/metrics":                     "up 1\n",
		"/debug/pprof/":                "goroutine",
		"/debug/pprof/goroutine":       "",
		"/debug/pprof/cmdline":         "api.test",
		"/debug/pprof/trace?seconds=0": "",
	} {
		if status, body := w.get(t, path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.100s", path, status, body)
		}
	}
	if status, _ := w.get(t, "/nothing"); status != 404 {
		t.Errorf("/nothing: %d", status)
	}
	w.gateway.ready.Store(false)
	if status, body := w.get(t, "/readyz"); status != 503 || body != "devices failed: draining\nstore ok\n" {
		t.Errorf("not ready: %d %s", status, body)
	}
}

func TestRequestsAreObserved(t *testing.T) {
	w := newWorld(t, Config{}, router.Config{})
	c := w.client("grpc")
	_, _ = publish(t.Context(), c, &longlinev1.Message{Topic: "a"})
	_, _ = publish(t.Context(), c, nil)
	for _, want := range []string{"ok", "invalid_argument"} {
		if got := <-w.observed; got != (observation{"/longline.v1.Gateway/Publish", want}) {
			t.Errorf("got %v, want %s", got, want)
		}
	}
}

func TestShutdownEndsStreams(t *testing.T) {
	w := newWorld(t, Config{}, router.Config{})
	s := open(t, w, w.client("grpc"), &longlinev1.SubscribeRequest{Filters: []string{"a"}})
	lines := w.listen(t, "filter=a")
	w.api.Close()
	if s.Receive() || connect.CodeOf(s.Err()) != connect.CodeUnavailable || !strings.Contains(s.Err().Error(), "shutting down") {
		t.Errorf("the stream ended with %v", s.Err())
	}
	if _, err := lines.ReadByte(); err != io.EOF {
		t.Errorf("events ended with %v", err)
	}
	refused{"afterwards", subscribing(&longlinev1.SubscribeRequest{Filters: []string{"a"}}), connect.CodeUnavailable, "shutting down"}.check(t, w.client("grpc"))
}

// A request that does not end is aborted when Shutdown's time is over.
func TestShutdownIsBounded(t *testing.T) {
	w := newWorld(t, Config{}, router.Config{})
	s, err := Listen(t.Context(), w.api)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	w.connect(t, "deaf", &fakeDevice{deaf: true}, "t")
	for range 2 {
		if _, err := w.router.Publish(&message.Message{Topic: "t", QoS: 1}, nil); err != nil {
			t.Fatal(err)
		}
	}
	failed := make(chan error, 1)
	go func() {
		r, err := http.Post("http://"+s.Addr().String()+"/longline.v1.Gateway/Publish", "application/json", strings.NewReader(`{"message":{"topic":"t","qos":1}}`))
		if err == nil {
			r.Body.Close()
		}
		failed <- err
	}()
	for w.api.publishing.Load() == 0 { // until it waits for the device that does not acknowledge
		runtime.Gosched()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); err == nil {
		t.Error("Shutdown did not say that it had no time")
	}
	if err := <-failed; err == nil {
		t.Error("the request was answered")
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
