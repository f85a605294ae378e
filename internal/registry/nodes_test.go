package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/longline/longline/internal/reload"
)

// listed returns the nodes of a list by their URLs.
func listed(t *testing.T, list []byte) map[string]int {
	t.Helper()
	var all struct{ Nodes []node }
	if err := json.Unmarshal(list, &all); err != nil || all.Nodes == nil {
		t.Fatalf("%s: %v", list, err)
	}
	weights := make(map[string]int)
	for _, n := range all.Nodes {
		if weights[n.URL] > 0 {
			t.Errorf("%s is listed twice", n.URL)
		}
		weights[n.URL] = n.Weight
	}
	return weights
}

// The list has this node while it takes devices, and the others as their registries have them, each once.
func TestNodesList(t *testing.T) {
	var state atomic.Pointer[State]
	state.Store(&State{Weight: 30})
	n := NewNodes()
	if string(n.List()) != `{"nodes":[]}` {
		t.Errorf("at first: %s", n.List())
	}
	n.url, n.state = "wss://a.test", func() State { return *state.Load() }
	n.Refresh()
	if string(n.List()) != `{"nodes":[{"url":"wss://a.test","weight":30}]}` {
		t.Errorf("alone: %s", n.List())
	}
	n.found["consul"] = []Instance{{"https://a.test", 80}, {"http://b.test:8080/edge", 70}, {"https://c.test", 1000}}
	n.found["nacos"] = []Instance{{"http://b.test:8080/edge", 70}, {"https://" + strings.Repeat("d", 300), 1}}
	n.Refresh()
	if got, want := fmt.Sprint(listed(t, n.List())), "map[ws://b.test:8080/edge:70 wss://a.test:30 wss://c.test:100]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	state.Store(&State{Weight: 30, Failed: "the node is draining"})
	n.Refresh()
	if got := listed(t, n.List()); len(got) != 2 || got["wss://a.test"] != 0 {
		t.Errorf("while it drains: %v", got)
	}
}

// Of many nodes a list has some, never the same for long, and always this one.
func TestNodesListIsBounded(t *testing.T) {
	n := NewNodes()
	n.url, n.state = "wss://a.test", func() State { return State{Weight: 1} }
	for i := range maxInstances {
		n.found["consul"] = append(n.found["consul"], Instance{fmt.Sprintf("http://10.0.%d.%d", i/250, i%250), 5})
	}
	seen := make(map[string]bool)
	for range 10 {
		n.Refresh()
		got := listed(t, n.List())
		if len(got) != maxNodes || got["wss://a.test"] != 1 {
			t.Fatalf("%d nodes, this one with %d", len(got), got["wss://a.test"])
		}
		for url := range got {
			seen[url] = true
		}
	}
	if len(seen) <= maxNodes {
		t.Error("the lists are all the same")
	}
}

// The nodes that a registry had stay in the list while it is away.
func TestNodesFollowRegistries(t *testing.T) {
	const other = `{"hosts":[{"ip":"10.0.0.1","port":1,"weight":7,"healthy":true,"enabled":true,"metadata":{"url":"wss://b.test"}},` +
		`{"ip":"10.0.0.2","port":1,"weight":7,"healthy":true,"enabled":true,"metadata":{}}]}`
	asked := make(chan string, 100)
	var down atomic.Bool
	a := answering(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Query().Get("serviceName")
		if down.Load() {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, other)
	})
	n := NewNodes()
	c := Register{Nacos: RegisterNacos{Servers: []string{a.URL}}}.WithDefaults()
	if err := n.Start("wss://a.test", func() State { return State{Weight: 1} }, c, new(reload.Watcher), quiet()); err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	await(t, "the other node", func() bool { n.Refresh(); return listed(t, n.List())["wss://b.test"] == 7 })
	if service := <-asked; service != "DEFAULT_GROUP@@longline" || len(listed(t, n.List())) != 2 {
		t.Errorf("asked for %s, listed %s", service, n.List())
	}
	down.Store(true)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errors.New("nobody asks any more"))
	defer cancel()
	select {
	case <-asked:
	case <-ctx.Done():
		t.Fatal(context.Cause(ctx))
	}
	if n.Refresh(); listed(t, n.List())["wss://b.test"] != 7 {
		t.Errorf("while the registry is away: %s", n.List())
	}
}
