//go:build long

package sinks

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/redisconn"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/sink/redis"
	"github.com/longline/longline/test/servers"
)

// A cluster: each key is at one node, and a node that is away holds up its own keys alone.
func TestRedisCluster(t *testing.T) {
	nodes := servers.RedisCluster(t)
	c := redisClient(t, rueidis.ClientOption{InitAddress: []string{nodes[0].Address()}})
	to := openRedis(t, redis.Config{Config: redisconn.Config{Addresses: []string{nodes[0].Address(), nodes[1].Address()}, Timeout: time.Second}, Key: "{topic}"}, pump.Options{})
	defer to.Close()
	var all []*message.Message
	for _, m := range numbered(100) {
		m.Topic = fmt.Sprint("k", len(all)%10)
		all = append(all, m)
	}
	records := prepare(t, to, all...)
	if done, err := to.Send(t.Context(), records); done != 100 || err != nil {
		t.Fatal(done, err)
	}
	for k := range 10 {
		got := redisPayloads(t, c, fmt.Sprint("k", k))
		var want []string
		for n := k + 1; n <= 100; n += 10 {
			want = append(want, strconv.Itoa(n))
		}
		if texts(got) != strings.Join(want, " ") {
			t.Errorf("k%d has %s", k, texts(got))
		}
	}
	where := make(map[string]bool)
	for k := range 10 {
		out := servers.RedisCLI(t, nodes[2], "xlen", fmt.Sprint("k", k))
		where[fmt.Sprint("k", k)] = !strings.Contains(out, "MOVED")
	}
	nodes[2].Kill()
	records = prepare(t, to, all...)
	done, err := to.Send(t.Context(), records)
	if err == nil || pump.IsRefused(err) || pump.IsMisconfigured(err) || done == 100 {
		t.Fatal(done, err)
	}
	nodes[2].Restart()
	eventually(t, func() bool { done, err = to.Send(t.Context(), records); return err == nil })
	for key, there := range where {
		if n := len(redisPayloads(t, c, key)); !there && n != 20 || there && n < 20 {
			t.Errorf("%s has %d entries", key, n)
		}
	}
}

// When the primary is killed the sink goes on with the one that the sentinels name.
func TestRedisSentinel(t *testing.T) {
	s := servers.RedisSentinel(t)
	to := openRedis(t, redis.Config{Config: redisconn.Config{Addresses: s.Addresses(), Timeout: time.Second, Sentinel: redisconn.Sentinel{Primary: servers.SentinelName}}, Key: "k"}, pump.Options{})
	defer to.Close()
	if done, err := to.Send(t.Context(), prepare(t, to, numbered(10)...)); done != 10 || err != nil {
		t.Fatal(done, err)
	}
	s.Primary.Kill()
	records := prepare(t, to, numbered(10)...)
	if done, err := to.Send(t.Context(), records); done != 0 || err == nil {
		t.Fatal(done, err)
	}
	eventually(t, func() bool { _, err := to.Send(t.Context(), records); return err == nil })
	if n := len(redisPayloads(t, redisClient(t, rueidis.ClientOption{InitAddress: []string{s.Replica.Address()}}), "k")); n < 10 {
		t.Errorf("the new primary has %d entries", n)
	}
}

// What too few replicas have is not confirmed, and while they are away nothing is added.
func TestRedisReplicas(t *testing.T) {
	primary := servers.Redis(t)
	replica := servers.Redis(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(primary.Port))
	to := openRedis(t, redis.Config{Config: redisconn.Config{Addresses: []string{primary.Address()}, Timeout: time.Second}, Key: "k", Replicas: 1}, pump.Options{})
	defer to.Close()
	records := prepare(t, to, numbered(10)...)
	eventually(t, func() bool { _, err := to.Send(t.Context(), records); return err == nil })
	c := redisClient(t, rueidis.ClientOption{InitAddress: []string{replica.Address()}})
	if n := len(redisPayloads(t, c, "k")); n < 10 {
		t.Errorf("the replica has %d entries", n)
	}
	replica.Kill()
	records = prepare(t, to, numbered(10)...)
	eventually(t, func() bool {
		done, err := to.Send(t.Context(), records)
		if done != 0 || err == nil {
			t.Fatal(done, err)
		}
		return strings.HasPrefix(err.Error(), "there are 0 of 1")
	})
	c = redisClient(t, rueidis.ClientOption{InitAddress: []string{primary.Address()}})
	before := len(redisPayloads(t, c, "k"))
	for range 3 {
		if done, err := to.Send(t.Context(), records); done != 0 || err == nil {
			t.Fatal(done, err)
		}
	}
	if after := len(redisPayloads(t, c, "k")); after != before {
		t.Errorf("%d entries have become %d", before, after)
	}
	replica.Restart()
	eventually(t, func() bool { _, err := to.Send(t.Context(), records); return err == nil })
}
