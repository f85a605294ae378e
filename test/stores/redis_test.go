//go:build servers || long

// Package stores runs the contract of stores against real servers.
package stores

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/redisconn"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/redis"
	"github.com/longline/longline/internal/store/storetest"
	"github.com/longline/longline/test/servers"
)

func TestRedis(t *testing.T) {
	runContract(t, redisconn.Config{Addresses: []string{servers.Redis(t, "--appendfsync", "no").Address()}})
}

func TestValkey(t *testing.T) {
	runContract(t, redisconn.Config{Addresses: []string{servers.Valkey(t, "--appendfsync", "no").Address()}})
}

func TestRedisCluster(t *testing.T) {
	runContract(t, redisconn.Config{Addresses: []string{servers.RedisCluster(t)[0].Address()}})
}

func TestRedisSentinel(t *testing.T) {
	s := servers.RedisSentinel(t)
	runContract(t, redisconn.Config{Addresses: s.Addresses(), Sentinel: redisconn.Sentinel{Primary: servers.SentinelName}})
}

func runContract(t *testing.T, c redisconn.Config) {
	client := clientBy(t, c)
	storetest.Run(t, func(t *testing.T, o store.Options) storetest.Whole { return newNode(t, client, o) })
	storetest.RunDurable(t, func(t *testing.T, o store.Options) storetest.Killable { return newNode(t, client, o) })
}

func clientOf(t testing.TB, addresses ...string) rueidis.Client {
	t.Helper()
	return clientBy(t, redisconn.Config{Addresses: addresses})
}

func clientBy(t testing.TB, c redisconn.Config) rueidis.Client {
	t.Helper()
	c = c.WithDefaults()
	dial, err := c.Dialer(new(reload.Watcher), redisconn.Bounds{Text: 64 << 20, Answer: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	client, err := dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// node is a store on Redis that claims a device when it is used first, as sessions do before, and all devices before it tells of records.
type node struct {
	*redis.Store
	local   *storetest.OnJournal
	client  rueidis.Client
	options store.Options
	prefix  string
	owner   string

	mu      sync.Mutex
	claimed map[string]bool
	values  map[store.Space]map[string][]byte
	lost    []string
	sentOn  []string
}

var prefixes atomic.Uint64

func newPrefix() string { return fmt.Sprintf("ll:%d-%d:", time.Now().UnixNano(), prefixes.Add(1)) }

func newNode(t testing.TB, client rueidis.Client, o store.Options) *node {
	return openNode(t, client, o, newPrefix(), "node/1", storetest.NewOnJournal(o))
}

func openNode(t testing.TB, client rueidis.Client, o store.Options, prefix, owner string, local *storetest.OnJournal) *node {
	t.Helper()
	n := &node{local: local, client: client, options: o, prefix: prefix, owner: owner, claimed: make(map[string]bool), values: make(map[store.Space]map[string][]byte)}
	link := redis.NewLink(client, prefix, time.Second, nil)
	s, err := redis.Open(t.Context(), o, redis.Options{
		Client: client, Link: link, Prefix: prefix, Node: owner, Owner: owner, Number: uint16(len(owner)),
		Redirect: func(device, owner string, m *message.Message, _ message.QoS, done func(error)) {
			n.mu.Lock()
			n.sentOn = append(n.sentOn, fmt.Sprintf("%s to %s at %s", m.Payload, device, owner))
			n.mu.Unlock()
			done(nil)
		},
		Lost: func(device, owner string, _ uint64) {
			n.mu.Lock()
			n.lost = append(n.lost, device+" to "+owner)
			delete(n.claimed, device)
			n.mu.Unlock()
			n.Store.Forget(device)
		},
	}, local)
	if err != nil {
		t.Fatal(err)
	}
	n.Store = s
	t.Cleanup(func() {
		_ = s.Close()
		link.Close()
	})
	return n
}

// claim claims a device, unless the node has.
func (n *node) claim(device string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.claimed[device] {
		return
	}
	n.mu.Unlock()
	c, err := claim(n.Store, device)
	n.mu.Lock()
	if err != nil {
		panic(err)
	}
	n.claimed[device] = true
	for _, v := range c.Values {
		if n.values[v.Space] == nil {
			n.values[v.Space] = make(map[string][]byte)
		}
		n.values[v.Space][v.Key] = v.Value
	}
}

// claim waits for a claim.
func claim(s *redis.Store, device string) (c redis.Claimed, err error) {
	told := make(chan struct{})
	s.Claim(device, func(found redis.Claimed, why error) {
		c, err = found, why
		close(told)
	})
	<-told
	return c, err
}

// keys returns the keys of the node's prefix that match.
func (n *node) keys(ctx context.Context, pattern string) (all []string, err error) {
	for _, server := range n.client.Nodes() {
		some, failed := server.Do(ctx, server.B().Keys().Pattern(n.prefix+pattern).Build()).AsStrSlice()
		all, err = append(all, some...), errors.Join(err, failed)
	}
	return all, err
}

func (n *node) claimAll() error {
	all, err := n.keys(context.Background(), "{*}:s")
	for _, key := range all {
		n.claim(key[len(n.prefix)+1 : len(key)-len("}:s")])
	}
	return err
}

func (n *node) Queue(device string) store.Queue {
	n.claim(device)
	return n.Store.Queue(device)
}

func (n *node) Save(r *store.Record) {
	n.claim(r.Device)
	n.Store.Save(r)
}

func (n *node) Records(yield func(*store.Record) bool) error {
	return errors.Join(n.claimAll(), n.Store.Records(yield))
}

func (n *node) TakeValues(space store.Space) (map[string][]byte, error) {
	own, err := n.Store.TakeValues(space)
	err = errors.Join(err, n.claimAll())
	n.mu.Lock()
	defer n.mu.Unlock()
	all := maps.Clone(n.values[space])
	if all == nil {
		return own, err
	}
	maps.Copy(all, own)
	delete(n.values, space)
	return all, err
}

// Kill implements storetest.Killable: another node takes over a copy of what is in Redis when all was sent.
func (n *node) Kill(t *testing.T) []storetest.Whole {
	t.Helper()
	servers.Until(t, "operations do not come to Redis", func() bool {
		appended, applied := n.Progress()
		return applied >= appended
	})
	keys, err := n.keys(t.Context(), "*")
	if err != nil {
		t.Fatal(err)
	}
	prefix := newPrefix()
	for _, key := range keys {
		if err := n.client.Do(t.Context(), n.client.B().Copy().Source(key).Destination(prefix+key[len(n.prefix):]).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	return []storetest.Whole{openNode(t, n.client, n.options, prefix, "another/1", n.local.Restart(t))}
}
