package servers

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Distances of other ports from the first: for TLS, and for what the nodes of a cluster tell each other.
const (
	secureDistance = 1
	busDistance    = 2
)

// Redis starts a Redis of one server, with these options of its command line. It syncs what it has written before it answers, so nothing
// is lost when it is killed. If the options name a certificate (--tls-cert-file), it takes TLS at RedisTLS.
func Redis(t testing.TB, options ...string) *Server {
	t.Helper()
	return Start(t, Program{
		Name:  "redis",
		Ports: []int{0, secureDistance, busDistance},
		Command: func(installed string, port int) []string {
			line := []string{
				installed + "/redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--save", "", "--appendonly", "yes",
				"--appendfsync", "always",
			}
			for _, o := range options {
				if o == "--tls-cert-file" {
					line = append(line, "--tls-port", strconv.Itoa(port+secureDistance))
				}
			}
			return append(line, options...)
		},
		Ready: redisAnswers,
	})
}

// RedisCluster starts a cluster of three Redis servers, each of which has a third of the keys.
func RedisCluster(t testing.TB) []*Server {
	t.Helper()
	var nodes []*Server
	create := []string{"--cluster", "create", "--cluster-yes"}
	for range 3 {
		one := Start(t, Program{
			Name:  "redis",
			Ports: []int{0, secureDistance, busDistance},
			Command: func(installed string, port int) []string {
				return []string{
					installed + "/redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--save", "", "--appendonly", "yes",
					"--appendfsync", "always", "--cluster-enabled", "yes", "--cluster-node-timeout", "5000",
					"--cluster-port", strconv.Itoa(port + busDistance),
				}
			},
			Ready: redisAnswers,
		})
		nodes, create = append(nodes, one), append(create, one.Address())
	}
	RedisCLI(t, nodes[0], create...)
	for _, n := range nodes {
		Until(t, "the cluster is not complete", func() bool {
			return strings.Contains(RedisCLI(t, n, "cluster", "info"), "cluster_state:ok")
		})
	}
	return nodes
}

// RedisSentinel starts a Redis, a replica of it, and a sentinel that makes the replica the primary, called "main", when the first has
// been away for a second.
func RedisSentinel(t testing.TB) (primary, replica, sentinel *Server) {
	t.Helper()
	primary = Redis(t)
	replica = Redis(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(primary.Port))
	Until(t, "the replica is not in step", func() bool {
		return strings.Contains(RedisCLI(t, replica, "info", "replication"), "master_link_status:up")
	})
	sentinel = Start(t, Program{
		Name:  "redis",
		Ports: []int{0},
		Command: func(installed string, port int) []string {
			text := fmt.Sprintf("bind 127.0.0.1\nport %d\nsentinel monitor main 127.0.0.1 %d 1\nsentinel down-after-milliseconds main 1000\n"+
				"sentinel failover-timeout main 5000\n", port, primary.Port)
			return []string{
				"/bin/sh", "-c", `test -e sentinel.conf || printf %s "$1" >sentinel.conf; exec "$0" sentinel.conf --sentinel`,
				installed + "/redis-server", text,
			}
		},
		Ready: redisAnswers,
	})
	Until(t, "the sentinel does not know the replica", func() bool {
		return strings.Contains(RedisCLI(t, sentinel, "sentinel", "replicas", "main"), strconv.Itoa(replica.Port))
	})
	return primary, replica, sentinel
}

// RedisTLS returns host and port at which a Redis takes TLS.
func RedisTLS(s *Server) string { return s.at(secureDistance) }

// RedisCLI returns what redis-cli prints for a command.
func RedisCLI(t testing.TB, s *Server, command ...string) string {
	t.Helper()
	installed, err := install("redis")
	if err != nil {
		t.Fatal(err)
	}
	cli := filepath.Join(installed, "redis-cli")
	out, err := exec.CommandContext(t.Context(), cli, append([]string{"-p", strconv.Itoa(s.Port)}, command...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli %s: %v: %s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// Until waits until a state is reached, for a minute at most.
func Until(t testing.TB, otherwise string, reached func() bool) {
	t.Helper()
	for begin := time.Now(); !reached(); time.Sleep(50 * time.Millisecond) {
		if time.Since(begin) > time.Minute {
			t.Fatal(otherwise)
		}
	}
}

// redisAnswers is a Ready. A server that wants a password is ready as well; one that still reads its files is not.
func redisAnswers(ctx context.Context, port int) error {
	line, err := firstLine(ctx, port, "PING\r\n")
	if err == nil && line != "+PONG" && !strings.HasPrefix(line, "-NOAUTH") {
		err = fmt.Errorf("it answers %s", line)
	}
	return err
}

// firstLine sends text and returns the first line that the server sends.
func firstLine(ctx context.Context, port int, text string) (string, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte(text)); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}
