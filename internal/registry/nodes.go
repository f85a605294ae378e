package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/reload"
)

// Nodes is the list of the nodes to which a client may connect: this one, and those that are registered. Its methods are safe from any goroutine.
type Nodes struct {
	// Static after construction.
	url     string // of this node
	state   func() State
	log     *slog.Logger
	stop    context.CancelFunc
	running sync.WaitGroup

	making sync.Mutex // while the list is made
	list   atomic.Pointer[[]byte]

	mu    sync.Mutex
	found map[string][]Instance // by registry
}

// Bounds of the list.
const (
	NodesAge    = 5 * time.Second // how often it is made
	maxNodes    = 64              // in a list
	maxNodesURL = 256             // bytes
)

// NewNodes makes the list. It is empty until Start.
func NewNodes() *Nodes {
	n := &Nodes{found: make(map[string][]Instance)}
	n.list.Store(&emptyList)
	return n
}

var emptyList = []byte(`{"nodes":[]}`)

// List returns the list as JSON, as docs/protocol.md describes it. It does not block, and nobody may change the result.
func (n *Nodes) List() []byte { return *n.list.Load() }

// Start keeps the list up to date until Close: with this node, at url, and with those in the registries of c. Errors begin with the key.
func (n *Nodes) Start(url string, state func() State, c Register, w *reload.Watcher, log *slog.Logger) error {
	n.url, n.state, n.log = url, state, log
	all := make(map[string]Discovery)
	for _, k := range c.registries() {
		d, err := k.openGateways(c.Service, w)
		if err != nil {
			for _, each := range all {
				each.Close()
			}
			return fmt.Errorf("%s.%w", k.key, err)
		}
		all[k.key] = d
	}
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	for key, d := range all {
		n.running.Go(func() {
			defer d.Close()
			n.follow(ctx, key, d)
		})
	}
	n.running.Go(func() { n.run(ctx) })
	return nil
}

// Close ends what Start has begun. The list stays as it is.
func (n *Nodes) Close() {
	n.stop()
	n.running.Wait()
}

// follow keeps the nodes that a registry has. While it does not answer, they are those that it had.
func (n *Nodes) follow(ctx context.Context, key string, d Discovery) {
	var problem error
	Follow(ctx, d, func(set []Instance) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.found[key] = set
	}, func(err error) {
		switch {
		case err != nil && problem == nil:
			n.log.Warn("the other nodes cannot be looked up; those last known are listed", "registry", key, "error", err)
		case err == nil && problem != nil:
			n.log.Info("the other nodes are known again", "registry", key)
		}
		problem = err
	})
}

func (n *Nodes) run(ctx context.Context) {
	tick := time.NewTicker(NodesAge)
	defer tick.Stop()
	for {
		n.Refresh()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Refresh makes the list now.
func (n *Nodes) Refresh() {
	n.making.Lock()
	defer n.making.Unlock()
	list := n.make()
	n.list.Store(&list)
}

// node is an element of the list.
type node struct {
	URL    string `json:"url"`
	Weight int    `json:"weight"`
}

// make makes the list: this node, if it takes devices, and others, at random if there are too many.
func (n *Nodes) make() []byte {
	n.mu.Lock()
	var others []Instance
	for _, set := range n.found {
		others = append(others, set...)
	}
	n.mu.Unlock()
	rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	all := []node{}
	if s := n.state(); s.Failed == "" {
		all = append(all, node{n.url, s.Weight})
	}
	seen := map[string]bool{n.url: true} // the registry may not know yet that this one takes none
	for _, o := range others {
		url := "ws" + strings.TrimPrefix(o.URL, "http")
		if len(all) < maxNodes && len(url) <= maxNodesURL && !seen[url] {
			seen[url] = true
			all = append(all, node{url, min(o.Weight, maxNodeWeight)})
		}
	}
	slices.SortFunc(all, func(a, b node) int { return strings.Compare(a.URL, b.URL) })
	text, err := json.Marshal(struct {
		Nodes []node `json:"nodes"`
	}{all})
	if err != nil { // it cannot be
		return emptyList
	}
	return text
}

// CheckNodeURL returns what is wrong with the URL of a node for devices.
func CheckNodeURL(text string) error {
	rest, ok := strings.CutPrefix(text, "ws")
	if _, err := parseURL("http" + rest); !ok || err != nil || len(text) > maxNodesURL {
		return fmt.Errorf("want a URL such as wss://gw-1.example.com, of at most %d bytes, without user and query", maxNodesURL)
	}
	return nil
}

// maxNodeWeight is the weight of a node without devices.
const maxNodeWeight = 100

// Weight returns the weight of a node with that many connections of at most limit.
func Weight(connections, limit int) int {
	return min(max(1, maxNodeWeight*(limit-connections)/max(1, limit)), maxNodeWeight)
}
