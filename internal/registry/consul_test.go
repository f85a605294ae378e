package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

// answers is a registry that gives one answer after the other, and notes the questions.
type answers struct {
	*httptest.Server

	mu    sync.Mutex
	next  []http.HandlerFunc
	asked []*http.Request
}

// answering returns a registry that answers as told, and then like the last one.
func answering(t *testing.T, all ...http.HandlerFunc) *answers {
	t.Helper()
	a := &answers{next: all}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.asked = append(a.asked, r)
	answer := a.next[0]
	if len(a.next) > 1 {
		a.next = a.next[1:]
	}
	a.mu.Unlock()
	answer(w, r)
}

// last returns the last question.
func (a *answers) last() *http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked[len(a.asked)-1]
}

func openSource(t *testing.T, s Source) Discovery {
	t.Helper()
	d, err := Open(s, new(reload.Watcher))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// says is an answer with an index.
func says(index, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Consul-Index", index)
		_, _ = io.WriteString(w, body)
	}
}

const oneInstance = `[{"Node":{"Address":"10.0.0.1"},"Service":{"Address":"","Port":9001,"Weights":{"Passing":7}}}]`

// The index of an answer is that of the next question, unless it went backwards, is missing, or the answer was none.
func TestConsulIndex(t *testing.T) {
	fails := func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "No cluster leader", http.StatusInternalServerError)
	}
	a := answering(t, says("5", oneInstance), says("9", "[]"), says("4", oneInstance), says("4", oneInstance), says("x", "[]"), says("7", "[]"),
		fails, says("8", "[]"), says("8", "null"))
	d := openSource(t, Source{Consul: Consul{Address: a.URL + "/", Service: "a b", Tags: []string{"x", "y"}, Datacenter: "d1", Token: setting.NewSecret("sesame")}})
	var indexes []string
	for range 9 {
		all, err := d.Find(t.Context())
		r := a.last()
		q := r.URL.Query()
		indexes = append(indexes, q.Get("index"))
		if (q.Get("index") != "") != (q.Get("wait") == "50s") || r.URL.EscapedPath() != "/v1/health/service/a%20b" || r.Header.Get("X-Consul-Token") != "sesame" ||
			!slices.Equal(q["tag"], []string{"x", "y"}) || q.Get("dc") != "d1" || q.Get("passing") != "1" {
			t.Errorf("asked %v with %v", r.URL, r.Header)
		}
		if err != nil && !strings.Contains(err.Error(), `500 Internal Server Error: "No cluster leader"`) {
			t.Error(err)
		}
		if len(all) > 0 && all[0] != (Instance{"http://10.0.0.1:9001", 7}) {
			t.Errorf("found %v", all)
		}
	}
	if want := []string{"", "5", "9", "", "4", "", "7", "", "8"}; !slices.Equal(indexes, want) {
		t.Errorf("asked with the indexes %q, want %q", indexes, want)
	}
}

// badAnswers are answers over HTTP that are none of any registry.
var badAnswers = map[string]http.HandlerFunc{
	"no JSON":      says("1", "<html>"),
	"nothing":      says("1", ""),
	"half of one":  says("1", oneInstance[:30]),
	"another type": says("1", `"x"`),
	"too much":     says("1", "["+strings.Repeat(" ", maxAnswer)+"]"),
	"cut": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, oneInstance)
	},
	"a refusal": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "who are you", http.StatusForbidden) },
	"a redirect": func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
	},
	"a hang-up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
}

func TestConsulBadAnswers(t *testing.T) {
	for what, answer := range badAnswers {
		d := openSource(t, Source{Consul: Consul{Address: answering(t, answer).URL, Service: "billing"}})
		if all, err := d.Find(t.Context()); err == nil {
			t.Errorf("%s: found %v", what, all)
		}
	}
}

// A question ends with its context, also if the registry never answers.
func TestConsulNeverAnswers(t *testing.T) {
	asked := make(chan struct{})
	a := answering(t, func(_ http.ResponseWriter, r *http.Request) { close(asked); <-r.Context().Done() })
	d := openSource(t, Source{Consul: Consul{Address: a.URL, Service: "billing"}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if all, err := d.Find(ctx); err == nil {
		t.Errorf("found %v", all)
	}
}

// An answer with many elements is decoded only as far as it counts.
func TestConsulManyInstances(t *testing.T) {
	text := "[" + strings.Repeat(oneInstance[1:len(oneInstance)-1]+",", 5000) + "{}]"
	if all, err := parseConsul([]byte(text), "http"); err != nil || len(all) != maxInstances+1 {
		t.Errorf("%d instances, %v", len(all), err)
	}
}

// TLS is used for https, with the configured authority.
func TestConsulTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(says("1", oneInstance))
	s.Config.ErrorLog = discardLog()
	s.StartTLS()
	defer s.Close()
	d := openSource(t, Source{Consul: Consul{Address: s.URL, Service: "billing", Scheme: "https", TLS: setting.TLS{CA: writeCA(t, s)}}})
	if all, err := d.Find(t.Context()); err != nil || len(all) != 1 || all[0].URL != "https://10.0.0.1:9001" {
		t.Errorf("found %v, %v", all, err)
	}
	d = openSource(t, Source{Consul: Consul{Address: s.URL, Service: "billing"}})
	if all, err := d.Find(t.Context()); err == nil {
		t.Errorf("found %v without an authority", all)
	}
	for _, c := range []Consul{{Service: "s", TLS: setting.TLS{CA: "/no"}}, {Service: "s", Token: setting.SecretFile("/no")}} {
		if _, err := Open(Source{Consul: c}, new(reload.Watcher)); err == nil || !strings.HasPrefix(err.Error(), "consul.t") {
			t.Errorf("%v", err)
		}
	}
}

func FuzzConsul(f *testing.F) {
	f.Add([]byte(oneInstance))
	f.Add([]byte("null"))
	f.Add([]byte(`[{"Service":null},{"Node":{"Address":"::1"},"Service":{"Port":-1}}]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		all, err := parseConsul(body, "http")
		checkSound(t, instances(all, false), err)
		checkSound(t, instances(all, true), err)
	})
}

// checkSound checks what a parser has made of any bytes.
func checkSound(t *testing.T, all []Instance, err error) {
	t.Helper()
	if err != nil && all != nil {
		t.Fatalf("found %v with %v", all, err)
	}
	if len(all) > maxInstances+1 {
		t.Fatalf("found %d instances", len(all))
	}
	set, _ := normal(all)
	for _, i := range set {
		u, err := url.Parse(i.URL)
		if err != nil || u.Hostname() == "" || u.User != nil || i.Weight < 1 || fmt.Sprint(u) != i.URL {
			t.Fatalf("%v is not sound: %v", i, err)
		}
	}
}
