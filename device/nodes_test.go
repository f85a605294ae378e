package device

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// listing is what a node answers to requests for the list.
type listing struct {
	mu     sync.Mutex
	status int
	body   string
	asked  int
}

func (l *listing) set(status int, body string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status, l.body = status, body
}

func (l *listing) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

// list makes g answer requests for the list.
func (g *gateway) list(status int, body string) *listing {
	l := &listing{status: status, body: body}
	handler := g.server.Handler
	g.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != nodesPath {
			handler.ServeHTTP(w, r)
			return
		}
		if r.URL.RawQuery != "" || r.Header.Get("Authorization") != "" {
			g.t.Errorf("the list is asked for with %q and %q", r.URL.RawQuery, r.Header.Get("Authorization"))
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.asked++
		w.WriteHeader(l.status)
		_, _ = io.WriteString(w, l.body)
	})
	return l
}

func TestListOfNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNodes(t, "lb", "one", "two")
		defer n.stop()
		list := n["lb"].list(200, `{"nodes":[{"url":"ws://one/connect","weight":9,"zone":"x"},{"url":"quic://two","weight":9}],"more":1}`)
		dialled, d := n.dial(t, "http://lb/v1/nodes", Options{ID: "m-7", Token: "secret", Reconnect: Reconnect{MaxTries: -1}})
		p := n["one"].accept(false)
		if err := <-dialled; err != nil {
			t.Fatal(err)
		}
		if got := p.request.URL.String(); got != "/connect?device=m-7" {
			t.Errorf("connected to %s", got)
		}

		// The list is asked for again when the connection is lost, and names another node.
		list.set(200, `{"nodes":[{"url":"ws://two","weight":1}]}`)
		time.Sleep(nodesFor)
		p.cut()
		p = n["two"].accept(true)
		synctest.Wait()
		if list.count() != 2 || (*d).State().URL != "ws://two/connect" {
			t.Errorf("the list was asked for %d times; connected to %s", list.count(), (*d).State().URL)
		}

		// It cannot be fetched: the last one is used.
		for _, answer := range []struct {
			status int
			body   string
		}{{500, "down"}, {200, "{"}, {200, strings.Repeat(" ", maxNodesBytes+1)}, {302, ""}, {200, `{"nodes":[{"url":"x:y"}]}`}} {
			list.set(answer.status, answer.body)
			time.Sleep(nodesFor)
			p.cut()
			p = n["two"].accept(true)
			synctest.Wait()
		}
		if list.count() != 7 {
			t.Errorf("the list was asked for %d times", list.count())
		}

		// It is empty: nobody takes devices. The device asks again as it reconnects.
		list.set(200, `{"nodes":[]}`)
		time.Sleep(nodesFor)
		p.cut()
		for (*d).State().Err == nil || !errors.Is((*d).State().Err, errNoNodes) {
			time.Sleep(time.Second)
		}
		list.set(200, `{"nodes":[{"url":"ws://one"}]}`)
		n["one"].accept(true)
		synctest.Wait()
		if got := (*d).State().URL; got != "ws://one/connect" {
			t.Errorf("connected to %s", got)
		}
		n["one"].close(*d)
	})
}

// A device that reconnects again and again does not ask for the list each time.
func TestListIsNotAskedForTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNodes(t, "lb", "one")
		defer n.stop()
		list := n["lb"].list(200, `{"nodes":[{"url":"ws://one"}]}`)
		began := time.Now()
		dialled, d := n.dial(t, "ws://lb/v1/nodes", Options{Reconnect: Reconnect{Min: time.Millisecond, Max: time.Millisecond, MaxTries: -1}})
		p := n["one"].accept(false)
		if err := <-dialled; err != nil {
			t.Fatal(err)
		}
		for range 20 {
			p.cut()
			p = n["one"].accept(true)
			synctest.Wait()
		}
		if time.Since(began) < nodesFor && list.count() != 1 {
			t.Errorf("asked for %d times in %v", list.count(), time.Since(began))
		}
		n["one"].close(*d)
	})
}

// A gateway without a list is the only node. Other addresses are used until there is a list.
func TestThereIsNoList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNodes(t, "lb", "spare")
		defer n.stop()
		list := n["lb"].list(426, "426 Upgrade Required")
		dialled, d := n.dial(t, "http://lb/v1/nodes", Options{})
		n["lb"].accept(false)
		if err := <-dialled; err != nil {
			t.Fatal(err)
		}
		n["lb"].close(*d)

		dialled, d = n.dial(t, "http://down/v1/nodes", Options{URLs: []string{"ws://spare"}})
		n["spare"].accept(false)
		if err := <-dialled; err != nil {
			t.Fatal(err)
		}
		n["spare"].close(*d)

		list.set(404, "")
		began := time.Now()
		_, err := Dial(t.Context(), "http://lb/v1/nodes", n.options(t, Options{}))
		var s *StatusError
		if !errors.As(err, &s) || s.Code != 404 || time.Since(began) != 0 {
			t.Errorf("a wrong URL: %v after %v", err, time.Since(began))
		}
	})
}

func TestParseNodes(t *testing.T) {
	o := Options{ID: "m-7"}
	var many []string
	for i := range 2 * maxNodes {
		many = append(many, fmt.Sprintf(`{"url":"ws://n-%d"}`, i))
	}
	for _, tt := range []struct {
		list, body string
		want       string // hosts with weights, or an error
	}{
		{"http://lb/v1/nodes", `{"nodes":[{"url":"ws://a:1/x","weight":5},{"url":"wss://b"},{"url":"ws://a:1/x","weight":9}]}`, "a:1/x=5 b/connect=1"},
		{"http://lb/v1/nodes", `{"nodes":[{"url":"ws://a","weight":-5},{"url":"ws://b","weight":1000},{"url":"ws://"},{"url":":"},{"url":"http://c"}]}`, "a/connect=1 b/connect=100"},
		{"https://lb/v1/nodes", `{"nodes":[{"url":"ws://a"},{"url":"wss://b"}]}`, "b/connect=1"},
		{"wss://lb/v1/nodes", `{"nodes":[{"url":"ws://a"}]}`, "no address that the device may use"},
		{"http://lb/v1/nodes", `{"nodes":null}`, "the list of nodes is empty"},
		{"http://lb/v1/nodes", `[]`, "cannot unmarshal"},
	} {
		a, err := newAddresses(tt.list, &o)
		if err != nil {
			t.Fatal(err)
		}
		all, err := a.nodes.parse([]byte(tt.body), &o)
		var got []string
		for _, n := range all {
			got = append(got, fmt.Sprintf("%s%s=%d", n.url.Host, n.url.Path, n.weight))
			if n.url.Query().Get("device") != "m-7" {
				t.Errorf("%s names no device", n.url)
			}
		}
		if err != nil {
			got = []string{err.Error()}
		}
		if text := strings.Join(got, " "); !strings.Contains(text, tt.want) {
			t.Errorf("%s of %s: %s, want %s", tt.body, tt.list, text, tt.want)
		}
	}
	a, err := newAddresses("http://lb/v1/nodes", &o)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := a.nodes.parse([]byte(`{"nodes":[`+strings.Join(many, ",")+`]}`), &o); err != nil || len(all) != maxNodes {
		t.Errorf("%d nodes, %v", len(all), err)
	}
}

// What is known of a node outlives a new list that has it.
func TestNewListKeepsWhatIsKnown(t *testing.T) {
	now := time.Now()
	a := addressesOf(t, Random, 1, 1)
	a.all[0].failed(&StatusError{RetryAfter: time.Minute}, now)
	b := addressesOf(t, Random, 7, 1, 1)
	a.replace(b.all[:1:1])
	if len(a.all) != 1 || a.all[0].weight != 7 || a.delay(now, nil) != time.Minute {
		t.Errorf("%+v", a.all[0])
	}
}

func FuzzNodes(f *testing.F) {
	for _, seed := range []string{`{"nodes":[{"url":"wss://a","weight":1}]}`, `{"nodes":[{"url":"ws://a?x=1#y"},{"url":"wss://u:p@a/%2f"}]}`, `{`, `{"nodes":{}}`} {
		f.Add(seed)
	}
	o := Options{ID: "m-7"}
	a, err := newAddresses("https://lb/v1/nodes", &o)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		all, err := a.nodes.parse([]byte(body), &o)
		if (err == nil) != (len(all) > 0) || len(all) > maxNodes {
			t.Fatalf("%d, %v", len(all), err)
		}
		for _, n := range all {
			if n.url.Scheme != "wss" || n.url.Host == "" || n.weight < 1 || n.weight > 100 {
				t.Fatalf("%+v", n)
			}
		}
	})
}
