package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeConsul is an agent that calls hook with each request, and otherwise agrees to everything.
func fakeConsul(t *testing.T, hook func(path string, body []byte, r *http.Request)) string {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		hook(r.URL.Path, body, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// A node registers itself with what others need to reach it, and has left before its device port drains: at a signal, and when a backend drains it.
func TestNodeRegistersAndLeavesFirst(t *testing.T) {
	t.Run("signal", func(t *testing.T) { testLeavesFirst(t, (*program).signal) })
	t.Run("API", func(t *testing.T) {
		testLeavesFirst(t, func(p *program) {
			go func() {
				response, err := http.Post("http://"+p.admin+"/longline.v1.Gateway/Drain", "application/json", strings.NewReader("{}"))
				if err != nil {
					t.Error(err)
					return
				}
				_ = response.Body.Close()
				p.signal()
			}()
		})
	})
}

func testLeavesFirst(t *testing.T, end func(*program)) {
	type announcement struct {
		Address string
		Port    int
		Meta    map[string]string
		Weights struct{ Passing int }
		Check   struct{ Status string }
	}
	registered, leaving, goOn := make(chan announcement, 10), make(chan struct{}), make(chan struct{})
	consul := fakeConsul(t, func(path string, body []byte, _ *http.Request) {
		switch {
		case strings.HasPrefix(path, "/v1/agent/service/register"):
			var a announcement
			if err := json.Unmarshal(body, &a); err != nil {
				t.Error(err)
			}
			registered <- a
		case strings.HasPrefix(path, "/v1/agent/service/deregister/longline-"):
			leaving <- struct{}{}
			<-goOn
		}
	})
	p := serve(t, fmt.Sprintf("register: {consul: {address: %q}, address: gw-1.test}\ngateway: {nodes: true, drain_spread: 1000s, raw_protocols: [ocpp1.6]}\n", consul), 1)
	a := receive(t, "the registration", registered)
	_, port, _ := strings.Cut(p.devices, ":")
	if a.Address != "gw-1.test" || fmt.Sprint(a.Port) != port || a.Check.Status != "passing" || a.Weights.Passing != 100 {
		t.Errorf("registered %+v", a)
	}
	for key, want := range map[string]string{"url": "ws://gw-1.test:" + port, "tls": "false", "protocols": "longline.v1.json,longline.v1.protobuf,mqtt,ocpp1.6"} {
		if a.Meta[key] != want || a.Meta["node"] == "" || a.Meta["version"] == "" {
			t.Errorf("%s is %q in %v", key, a.Meta[key], a.Meta)
		}
	}
	if list := p.text(p.devices + "/v1/nodes"); list != fmt.Sprintf(`{"nodes":[{"url":"ws://gw-1.test:%s","weight":99}]}`, port) &&
		list != fmt.Sprintf(`{"nodes":[{"url":"ws://gw-1.test:%s","weight":100}]}`, port) { // made before or after the device came
		t.Errorf("it lists %s", list)
	}
	end(p)
	receive(t, "the node to leave", leaving)
	if devices, admin := p.status(p.devices+"/healthz"), p.status(p.admin+"/readyz"); devices != http.StatusOK || admin != http.StatusServiceUnavailable {
		t.Errorf("while it leaves: healthz of the device port is %d, readyz is %d", devices, admin)
	}
	if list := p.text(p.devices + "/v1/nodes"); list != `{"nodes":[]}` {
		t.Errorf("while it leaves it lists %s", list)
	}
	select {
	case end := <-p.ends:
		t.Errorf("a device was closed before the node had left: %v", end)
	default:
	}
	close(goOn)
	p.delays(1)
	if code := p.exitCode(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

// A registry that does not answer does not keep a node from serving, nor from ending.
func TestNodeWithADeadRegistry(t *testing.T) {
	var once sync.Once
	asked, end := make(chan struct{}), make(chan struct{})
	consul := fakeConsul(t, func(_ string, _ []byte, r *http.Request) {
		once.Do(func() { close(asked) })
		select {
		case <-r.Context().Done():
		case <-end:
		}
	})
	t.Cleanup(func() { close(end) })
	p := serve(t, fmt.Sprintf("register: {consul: {address: %q}}\ngateway: {drain_timeout: 4s, drain_spread: 1000s}\n", consul), 1)
	receive(t, "a question", asked)
	if got := p.status(p.admin + "/readyz"); got != http.StatusOK {
		t.Errorf("readyz is %d", got)
	}
	if metrics := p.get("/metrics"); !strings.Contains(metrics, `longline_registered{registry="consul"} 0`) {
		t.Error("the metrics do not say that it is not registered")
	}
	p.signal()
	p.delays(1)
	if code := p.exitCode(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

// text returns what a URL has.
func (p *program) text(url string) string {
	p.t.Helper()
	response, err := http.Get("http://" + url)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// A node that others cannot reach as it is configured does not start, and says what is missing.
func TestRegisterNeedsAnAddress(t *testing.T) {
	for set, want := range map[string]string{
		"register.consul.address=http://127.0.0.1:8500": "register.address: is needed",
		"gateway.nodes=true":                            "gateway.url: is needed",
	} {
		code, _, stderr := longline(t, "serve", "--insecure-anywhere", "--listen", ":0", "--admin", "127.0.0.1:0", "--set", set)
		if code != exitFailed || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %q; want %s", set, code, stderr, want)
		}
	}
}
