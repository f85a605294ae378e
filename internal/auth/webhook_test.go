package auth

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/setting"
)

// hook is a webhook that counts the requests.
func hook(t *testing.T, answer http.HandlerFunc) (url string, asked *atomic.Int32) {
	asked = new(atomic.Int32)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

// questionOf returns the question that the gateway asks.
func questionOf(t *testing.T, r *http.Request) (q question) {
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		t.Error(err)
	}
	return q
}

func hooked(t *testing.T, c *clock, config Webhook) *webhook {
	t.Helper()
	w, err := newWebhook(t.Context(), config.WithDefaults(), nil, new(reload.Watcher), c.now)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestWebhookAnswers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		body   string
		want   string
	}{
		{"accepts", 200, `{}`, "m-7"},
		{"names the device", 200, `{"device":"m-9","unknown":1}`, "m-9"},
		{"accepts no more", 200, `{"permissions":{"publish":["a/#/b"]}}`, "unavailable"},
		{"says nothing", 200, ``, "unavailable"},
		{"says no object", 200, `true`, "unavailable"},
		{"says too much", 200, `{"device":"` + strings.Repeat("x", maxAnswer) + `"}`, "unavailable"},
		{"has no content", 204, ``, "unavailable"},
		{"refuses", 401, `{"reason":"stolen\nSet-Cookie: x\u2028"}`, "refused: stolenSet-Cookie: x"},
		{"refuses at length", 403, `{"reason":"` + strings.Repeat("x", 200) + `"}`, "refused: " + strings.Repeat("x", 100)},
		{"refuses without a word", 403, `forbidden`, "refused: the credential is not accepted"},
		{"does not know", 404, `{"device":"m-7"}`, "unavailable"},
		{"fails", 500, `{"device":"m-7"}`, "unavailable"},
		{"sends elsewhere", 307, `{"device":"m-7"}`, "unavailable"},
	} {
		url, asks := hook(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/again")
			w.WriteHeader(tt.status)
			reply(t, w, tt.body)
		})
		v := hooked(t, newClock(), Webhook{URL: url})
		if got := asked(t, v, &Credentials{Device: "m-7", Bearer: "x"}); got != tt.want || asks.Load() != 1 {
			t.Errorf("a service that %s: %s after %d requests, want %s", tt.name, got, asks.Load(), tt.want)
		}
	}
}

func TestWebhookQuestion(t *testing.T) {
	var got map[string]any
	var header http.Header
	url, _ := hook(t, func(w http.ResponseWriter, r *http.Request) {
		header, got = r.Header, nil
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil || r.Method != http.MethodPost {
			t.Errorf("%s: %v", r.Method, err)
		}
		reply(t, w, `{"id":"i","subject":"s","expires":"2040-01-02T03:04:05Z","permissions":{"subscribe":["x/#"]}}`)
	})
	c := newClock()
	v := hooked(t, c, Webhook{URL: url, Secret: setting.SecretFile(written(t, "gateway\n"))})
	cert := newAuthority(t, c, "ca", "P-256").chain(t, &x509.Certificate{Subject: pkix.Name{CommonName: "m-7"}, DNSNames: []string{"m-7.local"}})
	i, err := v.Verify(t.Context(), &Credentials{
		Device: "m-7", Bearer: "b", Username: "u", Password: "p", HasBasic: true, Certificates: cert,
		Remote: netip.MustParseAddr("192.0.2.1"), Protocol: "mqtt",
	})
	if err != nil || i.ID != "i" || i.Subject != "s" || i.Expires.Year() != 2040 || !i.MaySubscribe("x/y") || i.MayPublish("device/m-7/up") {
		t.Errorf("%+v, %v", i, err)
	}
	if header.Get("Authorization") != "Bearer gateway" || header.Get("Content-Type") != "application/json" {
		t.Errorf("header %v", header)
	}
	for key, want := range map[string]string{"device": "m-7", "token": "b", "username": "u", "password": "p", "remote": "192.0.2.1", "protocol": "mqtt"} {
		if got[key] != want {
			t.Errorf("%s is %v", key, got[key])
		}
	}
	shown, _ := got["certificate"].(map[string]any)
	if shown["subject"] != "CN=m-7" || shown["serial"] != "2a" || len(fmt.Sprint(shown["sha256"])) != 64 || fmt.Sprint(shown["dns"]) != "[m-7.local]" {
		t.Errorf("certificate %v", shown)
	}
	if got := asked(t, v, &Credentials{Device: "m-7"}); got != "not mine" {
		t.Errorf("without a credential: %s", got)
	}
}

func TestWebhookRemembers(t *testing.T) {
	c := newClock()
	status := http.StatusOK
	url, asks := hook(t, func(w http.ResponseWriter, r *http.Request) {
		q := questionOf(t, r)
		w.WriteHeader(status)
		if q.Token == "short" {
			fmt.Fprintf(w, `{"expires":%q}`, c.now().Add(10*time.Second).Format(time.RFC3339))
			return
		}
		reply(t, w, "{}")
	})
	v := hooked(t, c, Webhook{URL: url, CacheTTL: time.Minute})
	for _, step := range []struct {
		name   string
		pass   time.Duration
		token  string
		status int
		asks   int32
	}{
		{"first", 0, "a", 200, 1},
		{"again", 59 * time.Second, "a", 500, 1},
		{"another token", 0, "b", 200, 2},
		{"too late", time.Second, "a", 200, 3},
		{"refused", 0, "c", 401, 4},
		{"a refusal is not remembered", 0, "c", 200, 5},
		{"expires soon", 0, "short", 200, 6},
		{"before it expires", 9 * time.Second, "short", 500, 6},
		{"when it expires", time.Second, "short", 200, 7},
	} {
		c.pass(step.pass)
		status = step.status
		got := asked(t, v, &Credentials{Device: "m-7", Bearer: step.token})
		if wants := step.status != 401; (got == "m-7") != wants || asks.Load() != step.asks {
			t.Errorf("%s: %s after %d requests, want %d", step.name, got, asks.Load(), step.asks)
		}
	}
}

func TestWebhookFailsClosed(t *testing.T) {
	url, asks := hook(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	chain := opened(t, Config{Order: []string{"webhook", "insecure"}, Webhook: Webhook{URL: url, OpenAfter: 3}}, new(reload.Watcher), newClock())
	if got := chain.Breakers()["webhook"]; got != "closed" {
		t.Errorf("at first the breaker is %s", got)
	}
	for range 10 {
		if got := asked(t, chain, &Credentials{Device: "m-7", Bearer: "x"}); got != "unavailable" {
			t.Fatalf("got %s", got)
		}
	}
	if got := chain.Breakers()["webhook"]; got != "open" || asks.Load() != 3 {
		t.Errorf("the breaker is %s after %d requests", got, asks.Load())
	}
}

func TestWebhookRefusalsOpenNothing(t *testing.T) {
	url, asks := hook(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	v := hooked(t, newClock(), Webhook{URL: url, OpenAfter: 1})
	for range 5 {
		asked(t, v, &Credentials{Bearer: "x"})
	}
	if asks.Load() != 5 || v.breaker.State() != "closed" {
		t.Errorf("%v after %d requests", v.breaker.State(), asks.Load())
	}
}

// TestWebhookIsBounded sends many questions to a service that answers when the test lets it.
func TestWebhookIsBounded(t *testing.T) {
	entered, leave := make(chan string, 100), make(chan struct{})
	url, asks := hook(t, func(w http.ResponseWriter, r *http.Request) {
		q := questionOf(t, r)
		entered <- q.Token
		<-leave
		reply(t, w, "{}")
	})
	v := hooked(t, newClock(), Webhook{URL: url, Concurrency: 2, Timeout: time.Minute})
	var wg sync.WaitGroup
	for n := range 30 {
		wg.Go(func() {
			if got := asked(t, v, &Credentials{Device: "m-7", Bearer: fmt.Sprint("token ", n%3)}); got != "m-7" {
				t.Errorf("got %s", got)
			}
		})
	}
	first, second := <-entered, <-entered
	if first == second || len(entered) != 0 || v.turns.TryAcquire(1) {
		t.Errorf("%q and %q are asked, and %d more", first, second, len(entered))
	}
	close(leave)
	wg.Wait()
	if asks.Load() != 3 {
		t.Errorf("%d requests for 3 tokens", asks.Load())
	}
}

func TestWebhookIsNotWaitedForForEver(t *testing.T) {
	leave := make(chan struct{})
	url, _ := hook(t, func(http.ResponseWriter, *http.Request) { <-leave })
	t.Cleanup(func() { close(leave) })
	v := hooked(t, newClock(), Webhook{URL: url, Concurrency: 1, Timeout: 20 * time.Millisecond})
	if got := asked(t, v, &Credentials{Bearer: "x"}); got != "unavailable" {
		t.Errorf("a silent service: %s", got)
	}
	if !v.turns.TryAcquire(1) {
		t.Error("the turn is not given back")
	}
	if got := asked(t, v, &Credentials{Bearer: "x"}); got != "unavailable" {
		t.Errorf("no turn: %s", got)
	}
}

// TestWebhookTurnsOpenNothing uses a service that is slow but works: a request that waited for its turn for
// most of the time does not open the breaker.
func TestWebhookTurnsOpenNothing(t *testing.T) {
	leave := make(chan struct{})
	url, asks := hook(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-leave:
			reply(t, w, "{}")
		case <-r.Context().Done():
		}
	})
	v := hooked(t, newClock(), Webhook{URL: url, Concurrency: 1, Timeout: 400 * time.Millisecond, OpenAfter: 1})
	if !v.turns.TryAcquire(1) {
		t.Fatal("no turn")
	}
	late := make(chan string)
	go func() { late <- asked(t, v, &Credentials{Device: "m-7", Bearer: "late"}) }()
	time.AfterFunc(300*time.Millisecond, func() { v.turns.Release(1) })
	time.AfterFunc(550*time.Millisecond, func() { close(leave) })
	if got := <-late; got != "m-7" || asks.Load() != 1 || v.breaker.State() != "closed" {
		t.Errorf("%s after %d requests, and the breaker is %s", got, asks.Load(), v.breaker.State())
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newClock()
	k := newCache(10, c.now)
	key := func(n int) digest { return digest{byte(n), byte(n >> 8)} }
	for n := range 1000 {
		k.put(key(n), &Identity{Device: fmt.Sprint(n)}, time.Hour)
		if i, ok := k.get(key(0)); !ok || i.Device != "0" {
			t.Fatalf("what is asked for all the time is forgotten after %d", n)
		}
		if i, ok := k.get(key(n)); !ok || i.Device != fmt.Sprint(n) {
			t.Fatalf("%d is not remembered", n)
		}
	}
	if total := len(k.young) + len(k.old); total > 10 {
		t.Errorf("%d entries", total)
	}
	if _, ok := k.get(key(1)); ok {
		t.Error("what nobody asked for is remembered")
	}
}

// A service with several instances: one that cannot be reached is not missed, and no instance is asked a question that another may have
// seen, because services count wrong passwords.
func TestWebhookOverAService(t *testing.T) {
	good, _ := hook(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/verify" {
			t.Errorf("path %s", r.URL.Path)
		}
		reply(t, w, "{}")
	})
	cut, cuts := hook(t, func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = c.Close()
	})
	busy, refusals := hook(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	for _, c := range []struct {
		name  string
		other string
		asks  *atomic.Int32
		want  map[string]int
	}{
		{"nobody listens", "http://127.0.0.1:1", new(atomic.Int32), map[string]int{"m-7": 4}},
		{"one ends the connection", cut, cuts, map[string]int{"m-7": 2, "unavailable": 2}},
		{"one answers 503", busy, refusals, map[string]int{"m-7": 2, "unavailable": 2}},
	} {
		set, err := service.OpenSet(setting.Named[service.Config]{"identity": {
			Source: registry.Source{Instances: []string{good + "/v1", c.other + "/v1"}}, Choose: service.RoundRobin, Timeout: time.Minute,
		}}, service.Options{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		config := Config{Order: []string{"webhook"}, Webhook: Webhook{Service: "identity", Path: "/verify", Timeout: time.Minute}, Services: set}
		chain := opened(t, config, new(reload.Watcher), newClock())
		got := map[string]int{}
		for n := range 4 {
			got[asked(t, chain, &Credentials{Device: "m-7", Bearer: fmt.Sprint(n)})]++
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) || int(c.asks.Load()) != c.want["unavailable"] {
			t.Errorf("%s: %v after %d requests to it, want %v", c.name, got, c.asks.Load(), c.want)
		}
		if state := chain.Breakers()["identity"]; state != "closed" {
			t.Errorf("%s: the breaker is %q", c.name, state)
		}
		set.Close()
	}
}
