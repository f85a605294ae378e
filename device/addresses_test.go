package device

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/longline/longline/internal/wire"
)

// addressesOf returns addresses of hosts a, b, ... with weights.
func addressesOf(t *testing.T, c Choice, weights ...int) *addresses {
	t.Helper()
	var o Options
	o.Choose = c
	for i := range weights {
		o.URLs = append(o.URLs, fmt.Sprintf("ws://%c", 'a'+i))
	}
	a, err := newAddresses("", &o)
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range weights {
		a.all[i].weight = w
	}
	return a
}

// chosen counts the hosts that are chosen first in n rounds.
func (a *addresses) chosen(n int, now time.Time) map[string]int {
	count := make(map[string]int)
	for range n {
		a.round++
		a.tries = 0
		count[a.next(now).url.Host]++
	}
	return count
}

func TestChoices(t *testing.T) {
	now := time.Now()
	if got := addressesOf(t, Random, 3, 1).chosen(4000, now); got["a"] < 2800 || got["a"] > 3200 {
		t.Errorf("random, 3 to 1: %v of 4000", got)
	}
	if got := addressesOf(t, RoundRobin, 1, 1, 1).chosen(30, now); got["a"] != 10 || got["b"] != 10 || got["c"] != 10 {
		t.Errorf("in turn: %v of 30", got)
	}
	a := addressesOf(t, ResponseTime, 1, 1)
	a.all[0].greeted(10*time.Millisecond, now)
	if got := a.chosen(10, now); got["b"] != 10 {
		t.Errorf("one that was never tried goes first: %v", got)
	}
	a.all[1].greeted(20*time.Millisecond, now)
	if got := a.chosen(10, now); got["a"] != 10 {
		t.Errorf("the quicker: %v", got)
	}
	for range 3 {
		a.all[0].greeted(50*time.Millisecond, now)
	}
	if got := a.chosen(10, now); got["b"] != 10 {
		t.Errorf("it has become slower: %v", got)
	}
	a.all[1].greeted(50*time.Millisecond, now.Add(forgetAfter))
	if got := a.chosen(10, now.Add(forgetAfter+1)); got["a"] != 10 {
		t.Errorf("what was measured long ago does not count: %v", got)
	}
}

// A fleet does not begin at the same address.
func TestTurnsBeginAnywhere(t *testing.T) {
	first := make(map[string]int)
	for range 300 {
		for host := range addressesOf(t, RoundRobin, 1, 1, 1).chosen(1, time.Now()) {
			first[host]++
		}
	}
	if len(first) != 3 {
		t.Errorf("begun at %v", first)
	}
}

func TestRounds(t *testing.T) {
	now := time.Now()
	for _, c := range []Choice{Random, RoundRobin, ResponseTime} {
		a := addressesOf(t, c, 1, 2, 3)
		a.round++
		var tried []string
		for n := a.next(now); n != nil; n = a.next(now) {
			tried = append(tried, n.url.Host)
			n.failed(errors.New("x"), now)
		}
		slices.Sort(tried)
		if !slices.Equal(tried, []string{"a", "b", "c"}) {
			t.Errorf("%d: tried %v", c, tried)
		}
	}
	a := addressesOf(t, Random, 1, 1, 1, 1, 1, 1)
	a.round++
	n := 0
	for a.next(now) != nil {
		n++
	}
	if n != triesPerRound {
		t.Errorf("%d tries without a wait", n)
	}

	a = addressesOf(t, Random, 1, 1)
	a.all[0].failed(&StatusError{RetryAfter: time.Minute}, now)
	if got := a.chosen(10, now); got["b"] != 10 || a.delay(now, nil) != 0 {
		t.Errorf("one has asked to wait: %v, %v", got, a.delay(now, nil))
	}
	a.all[1].failed(&StatusError{RetryAfter: 10 * time.Hour}, now)
	if a.round++; a.next(now) != nil || a.delay(now, nil) != time.Minute {
		t.Errorf("both have asked to wait: %v", a.delay(now, nil))
	}
	if got := new(addresses).delay(now, &StatusError{RetryAfter: time.Minute}); got != time.Minute {
		t.Errorf("the list has asked to wait: %v", got)
	}
	if a.all[1].until.Sub(now) != maxDelay {
		t.Errorf("it may be tried after %v", a.all[1].until.Sub(now))
	}
}

func TestAddressesAreChecked(t *testing.T) {
	for _, tt := range []struct {
		raw  string
		urls []string
		want string
	}{
		{"", nil, "scheme"},
		{"ws://a", []string{"b"}, "scheme"},
		{"ws://a", []string{"https://b/v1/nodes"}, "only the first"},
	} {
		if _, err := Dial(t.Context(), tt.raw, &Options{URLs: tt.urls}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q, %q: %v", tt.raw, tt.urls, err)
		}
	}
}

// nodes are fake gateways by host name. Their connections are made in memory.
type nodes map[string]*gateway

func newNodes(t *testing.T, hosts ...string) nodes {
	n := make(nodes)
	for _, h := range hosts {
		n[h] = newGateway(t, JSON)
	}
	return n
}

func (n nodes) stop() {
	for _, g := range n {
		g.stop()
	}
}

// options completes o so that the device dials the node that a URL names, and nobody else.
func (n nodes) options(t *testing.T, o Options) *Options {
	var one *gateway
	for _, g := range n {
		one = g
	}
	all := one.options(o)
	all.HTTPClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _, _ := net.SplitHostPort(addr)
		if g := n[host]; g != nil && g.stopped.Err() == nil {
			return g.dialPipe(ctx, network, addr)
		}
		return nil, errors.New(host + " is down")
	}}}
	all.OnState = o.OnState
	return all
}

// dial dials in the background.
func (n nodes) dial(t *testing.T, url string, o Options) (dialled <-chan error, d **Device) {
	errs, device := make(chan error, 1), new(*Device)
	go func() {
		var err error
		*device, err = Dial(t.Context(), url, n.options(t, o))
		errs <- err
	}()
	return errs, device
}

func TestOtherAddressesAreTriedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNodes(t, "full", "good")
		defer n.stop()
		refused := 0
		n["full"].refuse = func(w http.ResponseWriter) bool {
			refused++
			w.Header().Set("Retry-After", "60")
			http.Error(w, "full", http.StatusServiceUnavailable)
			return true
		}
		began := time.Now()
		dialled, d := n.dial(t, "ws://down", Options{URLs: []string{"ws://full", "ws://good"}, Choose: RoundRobin})
		p := n["good"].accept(false)
		if err := <-dialled; err != nil {
			t.Fatal(err)
		}
		if time.Since(began) != 0 || (*d).State().URL != "ws://good/connect" {
			t.Errorf("connected to %s after %v", (*d).State().URL, time.Since(began))
		}
		// The node says that it drains: the device goes elsewhere, at most a jitter later, and leaves alone who asked it to wait.
		n["down"] = newGateway(t, JSON)
		refused = 0
		p.ws.Close(websocket.StatusCode(wire.CloseRestart.Code), "drained; retry after 30s")
		began = time.Now()
		n["down"].accept(true)
		synctest.Wait()
		if took := time.Since(began); took > 2*time.Second || (*d).State().URL != "ws://down/connect" || refused > 1 {
			t.Errorf("connected to %s after %v; the full one was asked %d times", (*d).State().URL, took, refused)
		}
		n["down"].close(*d)
	})
}

func TestAllAddressesAskToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNodes(t, "a", "b")
		defer n.stop()
		asked := make(map[string]int)
		for host, after := range map[string]string{"a": "30", "b": "90"} {
			n[host].refuse = func(w http.ResponseWriter) bool {
				if asked[host]++; host == "a" && asked[host] > 1 {
					return false
				}
				w.Header().Set("Retry-After", after)
				http.Error(w, "full", http.StatusServiceUnavailable)
				return true
			}
		}
		began := time.Now()
		dialled, d := n.dial(t, "ws://a", Options{URLs: []string{"ws://b"}})
		n["a"].accept(false)
		if err := <-dialled; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 30*time.Second || took > 32*time.Second || asked["b"] != 1 {
			t.Errorf("connected after %v; b was asked %d times", took, asked["b"])
		}
		n["a"].close(*d)
	})
}

// An address that refuses for good does not end Dial while another may take the device.
func TestDialFailsWhenAllAddressesRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNodes(t, "a", "b")
		defer n.stop()
		no := func(w http.ResponseWriter) bool {
			http.Error(w, "not you", http.StatusUnauthorized)
			return true
		}
		n["a"].refuse, n["b"].refuse = no, no
		began := time.Now()
		_, err := Dial(t.Context(), "ws://a", n.options(t, Options{URLs: []string{"ws://b"}}))
		var s *StatusError
		if !errors.As(err, &s) || s.Code != 401 || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		n["b"].refuse = func(http.ResponseWriter) bool { return false }
		dialled, d := n.dial(t, "ws://a", Options{URLs: []string{"ws://b"}})
		n["b"].accept(false)
		if err := <-dialled; err != nil {
			t.Error(err)
		}
		n["b"].close(*d)
	})
}
