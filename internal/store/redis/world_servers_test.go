//go:build servers

package redis

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/test/servers"
)

// The tests with the tag servers run against real servers of each kind.

// world is the servers of one kind.
type world struct {
	name  string
	start func(t *testing.T) rueidis.ClientOption
}

func worlds() []world {
	return []world{
		{"redis", func(t *testing.T) rueidis.ClientOption { return at(servers.Redis(t).Address()) }},
		{"valkey", func(t *testing.T) rueidis.ClientOption { return at(servers.Valkey(t).Address()) }},
		{"cluster", func(t *testing.T) rueidis.ClientOption { return at(servers.RedisCluster(t)[0].Address()) }},
		{"sentinel", func(t *testing.T) rueidis.ClientOption { return sentinelAt(servers.RedisSentinel(t)) }},
	}
}

func at(address string) rueidis.ClientOption {
	return rueidis.ClientOption{InitAddress: []string{address}, DisableCache: true, DisableRetry: true, ConnWriteTimeout: 2 * time.Second}
}

func sentinelAt(s *servers.Sentinel) rueidis.ClientOption {
	o := at("")
	o.InitAddress, o.Sentinel.MasterSet, o.Sentinel.TopologyRefreshInterval = s.Addresses(), servers.SentinelName, time.Second
	return o
}

// prefixes gives each test keys of its own.
var prefixes atomic.Int64

func newPrefix() string { return fmt.Sprintf("ll:test%d:", prefixes.Add(1)) }

func client(t *testing.T, o rueidis.ClientOption) rueidis.Client {
	t.Helper()
	c, err := rueidis.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func newLink(t *testing.T, o rueidis.ClientOption, prefix string) *Link {
	t.Helper()
	l := NewLink(client(t, o), prefix, 500*time.Millisecond, slog.New(slog.DiscardHandler))
	t.Cleanup(l.Close)
	return l
}

// keeper is a node with retained messages.
type keeper struct {
	t *testing.T
	*store.Memory
	log  *retained
	link *Link
}

func newKeeper(t *testing.T, o rueidis.ClientOption, prefix, origin string) *keeper {
	t.Helper()
	link := newLink(t, o, prefix)
	log := newRetained(Options{Link: link, Prefix: prefix, Owner: origin, Patience: 500 * time.Millisecond, Log: slog.New(slog.DiscardHandler)}, store.Options{})
	k := &keeper{t, store.NewMemory(store.Options{RetainedLog: log}), log, link}
	log.start(k.Memory)
	t.Cleanup(log.close)
	return k
}

// retain retains a message, or removes one.
func (k *keeper) retain(topic, payload string) {
	k.t.Helper()
	if err := k.Retain((&message.Message{Topic: topic, Payload: []byte(payload)}).Clone(), time.Now()); err != nil {
		k.t.Fatal(err)
	}
}

// try is retain, and returns what the fence says.
func (k *keeper) try(topic, payload string) error {
	k.t.Helper()
	k.retain(topic, payload)
	told := make(chan error, 1)
	if !k.log.commit(func(err error) { told <- err }) {
		return nil
	}
	return <-told
}

// must is try, which has to succeed.
func (k *keeper) must(topic, payload string) {
	k.t.Helper()
	if err := k.try(topic, payload); err != nil {
		k.t.Fatal(err)
	}
}

// get returns the payload that is retained for a topic.
func (k *keeper) get(topic string) string {
	k.t.Helper()
	found, _ := k.Retained(&store.Walk{Filter: topic}, make([]store.Kept, 0, 1), 10, time.Now())
	if len(found) == 0 {
		return ""
	}
	if !found[0].Stored() {
		return string(found[0].Payload)
	}
	p := store.RetainedPage(found)
	if err := k.log.readPage(context.Background(), p); err != nil {
		return err.Error()
	}
	k.LoadRetained(p)
	if m, ok := p.Whole(found[0]); ok && m != nil {
		return string(m.Payload)
	}
	return ""
}

// expectAll waits until all nodes have a payload for a topic.
func expectAll(topic, payload string, all ...*keeper) {
	for i, k := range all {
		k.t.Helper()
		servers.Until(k.t, fmt.Sprintf("node %d has not %.20q for %s", i, payload, topic), func() bool { return k.get(topic) == payload })
	}
}

// pause ends the reading of the log until proceed.
func (k *keeper) pause() {
	k.log.cancel()
	k.log.ended.Wait()
}

func (k *keeper) proceed() {
	ctx, cancel := context.WithCancel(context.Background())
	k.log.cancel, k.log.ready = cancel, make(chan struct{})
	k.log.ended.Go(func() { k.log.read(ctx) })
}
