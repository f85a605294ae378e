//go:build servers || long

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
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/sink/redis"
	"github.com/longline/longline/internal/sink/sinktest"
	"github.com/longline/longline/test/servers"
)

func TestRedis(t *testing.T) { sinktest.Run(t, redisServer(t)) }

func redisServer(t *testing.T) sinktest.Server {
	var server *servers.Server
	return sinktest.Server{
		Start: func(t testing.TB, _ string) string {
			if server == nil {
				server = servers.Redis(t)
				servers.RedisCLI(t, server, "set", "taken", "no stream")
			} else {
				server.Restart()
			}
			return server.Address()
		},
		Kill: func(testing.TB) { server.Kill() },
		Open: func(t testing.TB, proxy, where string, o pump.Options) pump.Target {
			return openRedis(t, redis.Config{Config: redisconn.Config{Addresses: []string{proxy}, Timeout: time.Second}, Key: where}, o)
		},
		Read: func(t testing.TB, where string) [][]byte {
			return redisPayloads(t, redisClient(t, rueidis.ClientOption{InitAddress: []string{server.Address()}}), where)
		},
	}
}

func openRedis(t testing.TB, c redis.Config, o pump.Options) pump.Target {
	t.Helper()
	o = options(o)
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	to, err := redis.Open(c, o)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func redisClient(t testing.TB, o rueidis.ClientOption) rueidis.Client {
	t.Helper()
	o.DisableCache = true
	c, err := rueidis.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// redisPayloads returns the payloads of a stream.
func redisPayloads(t testing.TB, c rueidis.Client, key string) (all [][]byte) {
	t.Helper()
	entries, err := c.Do(t.Context(), c.B().Xrange().Key(key).Start("-").End("+").Build()).AsXRange()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, []byte(e.FieldValues["payload"]))
	}
	return all
}

// numbered are messages of a device, with their numbers as payloads.
func numbered(n int) (all []*message.Message) {
	for i := range n {
		all = append(all, &message.Message{Topic: "t", Source: "d", Payload: []byte(strconv.Itoa(i + 1)), ContentType: message.JSON, Time: 1})
	}
	return all
}

// Users, a password in TLS, and what a wrong one leads to.
func TestRedisTLS(t *testing.T) {
	files := newCertificate(t)
	server := servers.Redis(t, "--tls-cert-file", files.cert, "--tls-key-file", files.key, "--tls-ca-cert-file", files.cert, "--tls-auth-clients", "no",
		"--user", "default", "off", "--user", "gateway", "on", ">sesame", "~k*", "+xadd", "+multi", "+exec")
	c := redis.Config{Key: "{topic}", Config: redisconn.Config{
		Addresses: []string{servers.RedisTLS(server)}, TLS: redisconn.TLS{Enabled: true, TLS: setting.TLS{CA: files.cert}},
		Username: "gateway", Password: setting.NewSecret("sesame"),
	}}
	to := openRedis(t, c, pump.Options{})
	defer to.Close()
	all := numbered(3)
	all[0].Topic, all[1].Topic, all[2].Topic = "k1", "other", "k2"
	records := prepare(t, to, all...)
	if done, err := to.Send(t.Context(), records); done != 1 || !pump.IsRefused(err) {
		t.Fatal(done, err)
	}
	if done, err := to.Send(t.Context(), records[2:]); done != 1 || err != nil {
		t.Fatal(done, err)
	}
	c.Password = setting.NewSecret("wrong")
	to = openRedis(t, c, pump.Options{})
	defer to.Close()
	if done, err := to.Send(t.Context(), records); done != 1 || err == nil || !strings.HasPrefix(err.Error(), "WRONGPASS") {
		t.Fatal(done, err)
	}
}

// Messages for a key that is no stream are refused one by one; the others are added once. A stream has a bounded length.
func TestRedisKeys(t *testing.T) {
	server := servers.Redis(t)
	servers.RedisCLI(t, server, "set", "bad", "no stream")
	c := redisClient(t, rueidis.ClientOption{InitAddress: []string{server.Address()}})
	to := openRedis(t, redis.Config{Config: redisconn.Config{Addresses: []string{server.Address()}}, Key: "{topic}", MaxLen: 100}, pump.Options{})
	defer to.Close()
	all := numbered(20)
	for i, m := range all {
		m.Topic = "good"
		if i%5 == 3 {
			m.Topic = "bad"
		}
	}
	records := prepare(t, to, all...)
	var refused []uint64
	for len(records) > 0 {
		done, err := to.Send(t.Context(), records)
		records = records[done:]
		if err == nil {
			break
		}
		if !pump.IsRefused(err) {
			t.Fatal(err)
		}
		refused = append(refused, records[0].Place)
		records = records[1:]
	}
	if got := texts(redisPayloads(t, c, "good")); fmt.Sprint(refused) != "[4 9 14 19]" || got != "1 2 3 5 6 7 8 10 11 12 13 15 16 17 18 20" {
		t.Errorf("refused %v, added %s", refused, got)
	}
	many := numbered(2000)
	for _, m := range many {
		m.Topic = "good"
	}
	if done, err := to.Send(t.Context(), prepare(t, to, many...)); done != 2000 || err != nil {
		t.Fatal(done, err)
	}
	if got := redisPayloads(t, c, "good"); len(got) > 300 || string(got[len(got)-1]) != "2000" {
		t.Errorf("the stream has %d entries", len(got))
	}
}

// While there is no memory nothing is added, not even what would fit; then all is, in order.
func TestRedisMemory(t *testing.T) {
	server := servers.Redis(t)
	c := redisClient(t, rueidis.ClientOption{InitAddress: []string{server.Address()}})
	to := openRedis(t, redis.Config{Config: redisconn.Config{Addresses: []string{server.Address()}}, Key: "k"}, pump.Options{})
	defer to.Close()
	records := prepare(t, to, numbered(10)...)
	servers.RedisCLI(t, server, "config", "set", "maxmemory", "1")
	if done, err := to.Send(t.Context(), records); done != 0 || err == nil || !strings.HasPrefix(err.Error(), "OOM") {
		t.Fatal(done, err)
	}
	servers.RedisCLI(t, server, "config", "set", "maxmemory", "0")
	if done, err := to.Send(t.Context(), records); done != 10 || err != nil {
		t.Fatal(done, err)
	}
	if got := texts(redisPayloads(t, c, "k")); got != "1 2 3 4 5 6 7 8 9 10" {
		t.Error(got)
	}
}

// An entry has all of a message.
func TestRedisFields(t *testing.T) {
	server := servers.Redis(t)
	c := redisClient(t, rueidis.ClientOption{InitAddress: []string{server.Address()}})
	fields := func(f map[string]string) string {
		t.Helper()
		to := openRedis(t, redis.Config{Config: redisconn.Config{Addresses: []string{server.Address()}}, Key: "k", Fields: f}, pump.Options{})
		defer to.Close()
		servers.RedisCLI(t, server, "del", "k")
		if done, err := to.Send(t.Context(), prepare(t, to, numbered(1)...)); done != 1 || err != nil {
			t.Fatal(done, err)
		}
		entries, err := c.Do(t.Context(), c.B().Xrange().Key("k").Start("-").End("+").Build()).AsXRange()
		if err != nil || len(entries) != 1 {
			t.Fatal(err)
		}
		return fmt.Sprint(entries[0].FieldValues)
	}
	if got := fields(nil); got != "map[content_type:application/json payload:1 place:3/all/1 source:d time:1 topic:t]" {
		t.Error(got)
	}
	if got := fields(map[string]string{"from": "{source}", "kind": "meter"}); got != "map[from:d kind:meter]" {
		t.Error(got)
	}
}
