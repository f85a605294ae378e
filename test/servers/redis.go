package servers

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	return Start(t, RedisProgram(options...))
}

// RedisProgram is the program of Redis.
func RedisProgram(options ...string) Program { return redisProgram("redis", options) }

// Valkey starts a Valkey of one server, in the way of Redis.
func Valkey(t testing.TB, options ...string) *Server {
	t.Helper()
	return Start(t, redisProgram("valkey", options))
}

func redisProgram(name string, options []string) Program {
	return Program{
		Name:  name,
		Ports: []int{0, secureDistance, busDistance},
		Command: func(installed string, port int) []string {
			line := []string{
				installed + "/" + name + "-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--save", "", "--appendonly", "yes",
				"--appendfsync", "always",
			}
			for _, o := range options {
				switch o {
				case "--tls-cert-file":
					line = append(line, "--tls-port", strconv.Itoa(port+secureDistance))
				case "--cluster-enabled":
					line = append(line, "--cluster-port", strconv.Itoa(port+busDistance))
				}
			}
			return append(line, options...)
		},
		Ready: redisAnswers,
	}
}

// RedisCluster starts a cluster of three Redis servers, each of which has a third of the keys. While one is away, none answers.
func RedisCluster(t testing.TB) []*Server {
	t.Helper()
	nodes, err := LaunchRedisCluster(t.Context(), t.TempDir())
	return started(t, nodes, err)
}

// LaunchRedisCluster is RedisCluster without a test: what the servers write is in dir. After an error none runs.
func LaunchRedisCluster(ctx context.Context, dir string) ([]*Process, error) {
	p := RedisProgram("--cluster-enabled", "yes", "--cluster-node-timeout", "5000")
	nodes, err := launchAll(ctx, dir, p, p, p)
	if err != nil {
		return nil, err
	}
	create := []string{"--cluster", "create", "--cluster-yes"}
	for _, n := range nodes {
		create = append(create, n.Address())
	}
	_, err = RedisCommand(ctx, nodes[0], create...)
	for _, n := range nodes {
		if err == nil {
			err = redisSays(ctx, n, "cluster_state:ok", "cluster", "info")
		}
	}
	if err != nil {
		killAll(nodes)
		return nil, err
	}
	return nodes, nil
}

// Sentinel is a Redis, a replica of it, and three sentinels that make the replica the primary, called SentinelName, when the first has
// been away for a second.
type Sentinel struct {
	Primary, Replica *Process
	Sentinels        []*Process
}

// SentinelName is what sentinels call the primary.
const SentinelName = "main"

// RedisSentinel starts a Sentinel.
func RedisSentinel(t testing.TB) *Sentinel {
	t.Helper()
	s, err := LaunchSentinel(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	started(t, s.all(), nil)
	return s
}

// LaunchSentinel is RedisSentinel without a test: what the servers write is in dir. After an error none runs.
func LaunchSentinel(ctx context.Context, dir string) (*Sentinel, error) {
	pair, err := launchAll(ctx, dir, RedisProgram())
	if err != nil {
		return nil, err
	}
	s := &Sentinel{Primary: pair[0]}
	port := strconv.Itoa(s.Primary.Port)
	pair, err = launchAll(ctx, filepath.Join(dir, "replica"), RedisProgram("--replicaof", "127.0.0.1 "+port))
	if err == nil {
		s.Replica = pair[0]
		err = redisSays(ctx, s.Replica, "master_link_status:up", "info", "replication")
	}
	if err == nil {
		p := sentinelProgram(s.Primary.Port)
		s.Sentinels, err = launchAll(ctx, filepath.Join(dir, "sentinels"), p, p, p)
	}
	for _, each := range s.Sentinels {
		if err == nil {
			err = redisSays(ctx, each, fmt.Sprintf("address=127.0.0.1:%s,slaves=1,sentinels=3", port), "info", "sentinel")
		}
	}
	if err != nil {
		killAll(s.all())
		return nil, err
	}
	return s, nil
}

func sentinelProgram(primary int) Program {
	return Program{
		Name:  "redis",
		Ports: []int{0},
		Command: func(installed string, port int) []string {
			lines := []string{
				"bind 127.0.0.1", fmt.Sprintf("port %d", port),
				fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 2", SentinelName, primary),
				"sentinel down-after-milliseconds " + SentinelName + " 1000",
				"sentinel failover-timeout " + SentinelName + " 5000", "",
			}
			return []string{
				"/bin/sh", "-c", `test -e sentinel.conf || printf %s "$1" >sentinel.conf; exec "$0" sentinel.conf --sentinel`,
				installed + "/redis-server", strings.Join(lines, "\n"),
			}
		},
		Ready: redisAnswers,
	}
}

// Addresses returns where the sentinels are.
func (s *Sentinel) Addresses() []string {
	var all []string
	for _, each := range s.Sentinels {
		all = append(all, each.Address())
	}
	return all
}

// Part cuts the replica off: what the primary is told from now on, the replica never has. FailOver has to come soon.
func (s *Sentinel) Part(ctx context.Context) error {
	if err := s.Replica.Stop(); err != nil {
		return err
	}
	_, err := RedisCommand(ctx, s.Primary, "client", "kill", "type", "replica")
	return err
}

// FailOver kills the primary, lets the replica go on if Part has stopped it, and waits until the replica is the primary. Then Primary and
// Replica change places: Restart of the Replica makes it one.
func (s *Sentinel) FailOver(ctx context.Context) error {
	s.Primary.Kill()
	if err := s.Replica.Continue(); err != nil {
		return err
	}
	s.Primary, s.Replica = s.Replica, s.Primary
	return redisSays(ctx, s.Primary, "role:master", "info", "replication")
}

// Kill ends all servers.
func (s *Sentinel) Kill() { killAll(s.all()) }

func (s *Sentinel) all() []*Process {
	all := slices.Clone(s.Sentinels)
	for _, each := range []*Process{s.Primary, s.Replica} {
		if each != nil {
			all = append(all, each)
		}
	}
	return all
}

// RedisMark remembers how much a Redis or Valkey has written until now. forget, called while the server is killed, takes what it has written
// since: the server is then restarted without its last second.
func RedisMark(s *Process) (forget func() error, err error) {
	files, err := filepath.Glob(filepath.Join(s.Dir, "appendonlydir", "*.aof"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("it writes no log: %w", err)
	}
	sizes := make(map[string]int64)
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return nil, err
		}
		sizes[f] = info.Size()
	}
	return func() error {
		for f, size := range sizes {
			if err := os.Truncate(f, size); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// RedisBus returns the port at which a Redis of a cluster talks to the others.
func RedisBus(s *Process) int { return s.Port + busDistance }

// RedisTLS returns host and port at which a Redis takes TLS.
func RedisTLS(s *Server) string { return s.at(secureDistance) }

// RedisCLI returns what redis-cli prints for a command.
func RedisCLI(t testing.TB, s *Server, command ...string) string {
	t.Helper()
	out, err := RedisCommand(t.Context(), s.Process, command...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// RedisCommand returns what redis-cli prints for a command.
func RedisCommand(ctx context.Context, s *Process, command ...string) (string, error) {
	installed, err := install("redis")
	if err != nil {
		return "", err
	}
	cli := filepath.Join(installed, "redis-cli")
	out, err := exec.CommandContext(ctx, cli, append([]string{"-p", strconv.Itoa(s.Port)}, command...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("redis-cli %s: %w: %s", strings.Join(command, " "), err, out)
	}
	return string(out), nil
}

// redisSays waits until what a server says to a command has want in it, for a minute at most.
func redisSays(ctx context.Context, s *Process, want string, command ...string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		out, err := RedisCommand(ctx, s, command...)
		if err == nil && strings.Contains(out, want) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%v of a Redis has no %s: %s %w", command, want, out, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
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
