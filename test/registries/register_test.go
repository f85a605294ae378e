//go:build servers || long

package registries

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/test/servers"
)

// ttl is register.ttl of the gateways.
const ttl = 5 * time.Second

// registering is a registry in which gateways register themselves.
type registering struct {
	*servers.Server
	register string          // its section in the configuration, with %s for its URL
	source   registry.Source // where others find the gateways
	// id returns the path at which the registry itself, not a cache of it, has a gateway: with the status 200, if it has.
	id func(g *process) string
}

// runRegister is the contract of a registration: every registry runs it with real gateways.
func runRegister(t *testing.T, r *registering) {
	g := r.gateway(t)
	r.await(t, "it appears", map[string]int{g.url(): 100})
	other := r.gateway(t)
	r.await(t, "another appears", map[string]int{g.url(): 100, other.url(): 100})
	g.awaitNodes(t, g, other)

	first := g.connect(t)
	g.connect(t)
	r.await(t, "its weight changes", map[string]int{g.url(): 50, other.url(): 100})

	r.Kill()
	r.Restart()
	r.await(t, "they appear again", map[string]int{g.url(): 50, other.url(): 100})

	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-first // a drain closes one device per second, at first this one or the other
	if r.has(t, g) {
		t.Error("it is registered while it drains")
	}
	r.await(t, "it has left", map[string]int{other.url(): 100})
	if err := g.cmd.Wait(); err != nil {
		t.Errorf("it has ended with %v", err)
	}

	if err := other.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.await(t, "the killed one is gone", map[string]int{})
}

// await waits until the gateways are found with these weights, by their URLs.
func (r *registering) await(t *testing.T, what string, want map[string]int) {
	t.Helper()
	d, err := registry.Open(r.source, new(reload.Watcher))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		all, err := d.Find(ctx)
		got := make(map[string]int)
		for _, i := range all {
			got[i.URL] = i.Weight
		}
		if err == nil && fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: found %v, %v; want %v", what, got, err, want)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// has reports whether the registry knows the gateway now.
func (r *registering) has(t *testing.T, g *process) bool {
	t.Helper()
	response, err := http.Get(r.URL(r.id(g)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// gateway starts a gateway that registers itself and has room for four devices.
func (r *registering) gateway(t *testing.T) *process {
	t.Helper()
	return startGateway(t, fmt.Sprintf(`
gateway: {insecure: true, max_connections: 4, nodes: true, drain_rate: 1}
register:
  ttl: %v
  %s
`, ttl, fmt.Sprintf(r.register, r.URL(""))))
}

// connect connects a device. The channel is closed when its connection has ended.
func (g *process) connect(t *testing.T) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	c, _, err := websocket.Dial(ctx, fmt.Sprintf("ws://%s/connect/d%d", g.devices, time.Now().UnixNano()), nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer cancel()
		for err == nil {
			_, _, err = c.Read(ctx)
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return ended
}

// awaitNodes waits until the gateway lists these.
func (g *process) awaitNodes(t *testing.T, all ...*process) {
	t.Helper()
	var text []byte
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		response, err := http.Get(g.url() + "/v1/nodes")
		if err != nil {
			t.Fatal(err)
		}
		var list struct{ Nodes []struct{ URL string } }
		err = json.NewDecoder(response.Body).Decode(&list)
		_ = response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		found := make(map[string]bool)
		for _, n := range list.Nodes {
			found[n.URL] = true
		}
		missing := len(found) != len(all)
		for _, each := range all {
			missing = missing || !found["ws://"+each.devices]
		}
		if !missing {
			return
		}
		text, _ = json.Marshal(list)
	}
	t.Errorf("it lists %s", text)
}
