//go:build servers

package servers

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestOutages(t *testing.T) {
	s := Consul(t)
	answers := func(patience time.Duration) bool {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return s.program.Ready(ctx, s.Port) == nil
	}
	s.Kill()
	if answers(time.Second) {
		t.Error("it answers although it was killed")
	}
	s.Restart()
	s.Stop()
	if answers(time.Second) {
		t.Error("it answers although it was stopped")
	}
	s.Continue()
	if !answers(20 * time.Second) {
		t.Error("it does not go on")
	}
}

// What Redis has answered is there after a kill.
func TestRedisKeepsItsData(t *testing.T) {
	s := Redis(t)
	RedisCLI(t, s, "xadd", "stream", "1-1", "a", "b")
	s.Kill()
	s.Restart()
	if got := RedisCLI(t, s, "xrange", "stream", "-", "+"); !strings.Contains(got, "1-1") {
		t.Errorf("after a kill the stream has %q", got)
	}
}

// A cluster answers for all keys.
func TestRedisCluster(t *testing.T) {
	nodes := RedisCluster(t)
	moved := 0
	for _, n := range nodes {
		if strings.Contains(RedisCLI(t, n, "xadd", "stream", "*", "a", "b"), "MOVED") {
			moved++
		}
	}
	if moved != len(nodes)-1 {
		t.Errorf("%d of %d nodes do not have the key", moved, len(nodes))
	}
}

// Sentinels make the replica the primary. What the primary was told after Part is lost.
func TestSentinelFailsOver(t *testing.T) {
	s := RedisSentinel(t)
	for _, step := range []func() error{
		func() error { _, err := RedisCommand(t.Context(), s.Primary, "set", "a", "1"); return err },
		func() error { return redisSays(t.Context(), s.Replica, "1", "get", "a") },
		func() error { return s.Part(t.Context()) },
		func() error { _, err := RedisCommand(t.Context(), s.Primary, "set", "a", "2"); return err },
		func() error { return s.FailOver(t.Context()) },
		func() error { return redisSays(t.Context(), s.Primary, "1", "get", "a") },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Replica.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := redisSays(t.Context(), s.Replica, "role:slave", "info", "replication"); err != nil {
		t.Fatal(err)
	}
}

// A Redis or a Valkey can be restarted without what it wrote last.
func TestRedisForgetsItsLastSecond(t *testing.T) {
	for name, start := range map[string]func(testing.TB, ...string) *Server{"redis": Redis, "valkey": Valkey} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			RedisCLI(t, s, "set", "a", "1")
			forget, err := RedisMark(s.Process)
			if err != nil {
				t.Fatal(err)
			}
			RedisCLI(t, s, "set", "a", "2")
			s.Kill()
			if err := forget(); err != nil {
				t.Fatal(err)
			}
			s.Restart()
			if got := strings.TrimSpace(RedisCLI(t, s, "get", "a")); got != "1" {
				t.Errorf("it has %s", got)
			}
		})
	}
}

// What a stream of NATS has acknowledged is there after a kill.
func TestNATSKeepsItsData(t *testing.T) {
	s := NATS(t)
	url := "nats://" + s.Address()
	stream := func() jetstream.JetStream {
		c, err := nats.Connect(url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		js, err := jetstream.New(c)
		if err != nil {
			t.Fatal(err)
		}
		return js
	}
	js := stream()
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "a", Subjects: []string{"a.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "a.b", []byte("c")); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	s.Restart()
	again, err := stream().Stream(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if n := again.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("after a kill the stream has %d messages", n)
	}
}
