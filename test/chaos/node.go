package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/longline/longline/test/account"
	"github.com/longline/longline/test/clients"
)

// node is one longline serve of the cluster.
type node struct {
	name    string
	gateway *clients.Gateway

	mu      sync.Mutex
	stopped time.Duration // when it was stopped, of the book's clock; 0 means that it is not
	cuts    []cut
}

// cut is a time in which a node did not reach Redis.
type cut struct{ from, to time.Duration }

// cutOff reports whether the node did not reach Redis at some moment of a time.
func (n *node) cutOff(from, to time.Duration) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.cuts, func(c cut) bool { return c.from <= to && c.to >= from })
}

// wasCut notes that the nodes did not reach Redis from then until now.
func wasCut(from, to time.Duration, all ...*node) {
	for _, n := range all {
		n.mu.Lock()
		n.cuts = append(n.cuts, cut{from, to})
		n.mu.Unlock()
	}
}

// cluster is all nodes. As clients.Gateways it connects each client to a node at random, as a balancer does that learns within healthTime that a node
// does not answer.
type cluster struct {
	book  *account.Book
	nodes []*node

	mu     sync.Mutex
	random *rand.Rand
	at     map[string]*node // to which a client has connected last
	by     map[string]*node // by the address of its listener
}

const healthTime = 2 * time.Second

// nodeConfiguration lets queues hold whatever comes while a device is away.
const nodeConfiguration = `
gateway: {listen: "127.0.0.1:0", insecure: true, drain_timeout: 5s, drain_spread: 1s, mqtt: {listen: "127.0.0.1:0"}}
api: {address: "127.0.0.1:0"}
cluster: {name: chaos, node: %s, lease: %v, redis: %s}
store: {queue: {count: 1000000, bytes: 1GiB}}
limits: {memory: {limit: 4GiB}}
log: {level: info, format: json}
`

// aloneConfiguration is that of a node without a cluster, to try the test itself.
const aloneConfiguration = `
gateway: {listen: "127.0.0.1:0", insecure: true, drain_timeout: 5s, drain_spread: 1s, mqtt: {listen: "127.0.0.1:0"}}
api: {address: "127.0.0.1:0"}
store: {path: %q, reserve: 32MiB, queue: {count: 1000000, bytes: 1GiB}}
limits: {memory: {limit: 4GiB}}
log: {level: info, format: json}
`

func nodeName(i int) string { return fmt.Sprintf("gw-%d", i+1) }

// newCluster returns nodes that are not started. Their configurations are in the folder.
func newCluster(b *account.Book, seed uint64, program, folder string, texts []string) (*cluster, error) {
	c := &cluster{book: b, random: rand.New(rand.NewPCG(seed, 1)), at: make(map[string]*node), by: make(map[string]*node)}
	for i, text := range texts {
		name := nodeName(i)
		file := filepath.Join(folder, name+".yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, &node{name: name, gateway: clients.NewGateway(b, program, "serve", "--config", file)})
	}
	return c, nil
}

// start starts a node, whose clock is wrong by an offset.
func (c *cluster) start(ctx context.Context, n *node, wrong time.Duration) error {
	n.gateway.Environment = []string{fmt.Sprintf("%s=%d", clockVariable, int(wrong.Seconds()))}
	if err := n.gateway.Start(ctx, clients.StartTimeout); err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	at, err := n.gateway.Addresses()
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by[at.Devices], c.by[at.MQTT] = n, n
	return nil
}

func (c *cluster) kill() {
	for _, n := range c.nodes {
		n.gateway.Kill()
	}
}

// chosen reports whether a balancer gives the node to clients.
func (c *cluster) chosen(n *node) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, err := n.gateway.Addresses(); err != nil {
		return false
	}
	return n.stopped == 0 || c.book.Now() < n.stopped+healthTime
}

// pick returns a node for a client, or nil.
func (c *cluster) pick() *node {
	var list []*node
	for _, n := range c.nodes {
		if c.chosen(n) {
			list = append(list, n)
		}
	}
	if len(list) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return list[c.random.IntN(len(list))]
}

// Wait implements clients.Gateways.
func (c *cluster) Wait(ctx context.Context) error {
	for c.pick() == nil {
		if !sleep(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}

// Dial implements clients.Gateways.
func (c *cluster) Dial(ctx context.Context, client string, to func(clients.Addresses) string) (net.Conn, error) {
	n := c.pick()
	if n == nil {
		return nil, clients.ErrDown
	}
	conn, err := n.gateway.Dial(ctx, client, to)
	if err == nil {
		c.mu.Lock()
		c.at[client] = n
		c.mu.Unlock()
	}
	return conn, err
}

// nodeOf returns the node to which a client has connected last.
func (c *cluster) nodeOf(client string) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at[client]
}

// nodeAt returns the node that has, or had, an address.
func (c *cluster) nodeAt(address string) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[address]
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
