package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/test/servers"
)

// Kinds of engines.
const (
	single   = "single"
	sharded  = "cluster"
	sentinel = "sentinel"
)

// sentinelName is what the sentinels call the primary.
const sentinelName = "main"

// password is that of all nodes.
const password = "chaos"

// server is one Redis behind its proxy, which is the address that everybody is told.
type server struct {
	process *servers.Process
	proxy   *proxy
}

// engine is what the nodes share: one Redis, a cluster of three, or a primary and its replica with three sentinels.
type engine struct {
	kind    string
	servers []*server // a sentinel's: two, which of them is the primary changes
	guards  []*servers.Process
}

// startEngine starts an engine in a folder. users are the nodes' names at Redis.
func startEngine(ctx context.Context, kind, folder string, users []string) (e *engine, err error) {
	e = &engine{kind: kind}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	for range map[string]int{single: 1, sharded: 3, sentinel: 2}[kind] {
		if err := e.launch(ctx, folder, users); err != nil {
			return nil, err
		}
	}
	switch kind {
	case sharded:
		err = e.join(ctx)
	case sentinel:
		err = e.guard(ctx, folder)
	}
	return e, err
}

// launch starts one server.
func (e *engine) launch(ctx context.Context, folder string, users []string) error {
	p, err := listenProxy(users...)
	if err != nil {
		return err
	}
	s := &server{proxy: p}
	e.servers = append(e.servers, s)
	port := strconv.Itoa(p.port())
	options := []string{"--appendfsync", "no", "--auto-aof-rewrite-percentage", "0", "--repl-diskless-sync-delay", "0"}
	for _, u := range users {
		options = append(options, "--user", u, "on", ">"+password, "~*", "&*", "+@all")
	}
	switch {
	case e.kind == sharded:
		options = append(options, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000",
			"--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", port)
	case e.kind == sentinel:
		options = append(options, "--replica-announce-ip", "127.0.0.1", "--replica-announce-port", port)
		if len(e.servers) > 1 {
			options = append(options, "--replicaof", "127.0.0.1", strconv.Itoa(e.servers[0].proxy.port()))
		}
	}
	dir := filepath.Join(folder, "redis-"+strconv.Itoa(len(e.servers)))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if s.process, err = servers.Launch(ctx, servers.RedisProgram(options...), dir); err != nil {
		return err
	}
	p.point(s.process.Address())
	return nil
}

// join makes the servers a cluster.
func (e *engine) join(ctx context.Context) error {
	const slots = 16384
	for i, s := range e.servers {
		from, to := slots*i/len(e.servers), slots*(i+1)/len(e.servers)-1
		if _, err := s.say(ctx, "cluster", "addslotsrange", strconv.Itoa(from), strconv.Itoa(to)); err != nil {
			return err
		}
		if _, err := s.say(ctx, "cluster", "set-config-epoch", strconv.Itoa(i+1)); err != nil {
			return err
		}
	}
	for _, s := range e.servers[1:] {
		first := e.servers[0].process
		if _, err := s.say(ctx, "cluster", "meet", "127.0.0.1", strconv.Itoa(first.Port), strconv.Itoa(servers.RedisBus(first))); err != nil {
			return err
		}
	}
	return e.wait(ctx)
}

// guard starts the sentinels.
func (e *engine) guard(ctx context.Context, folder string) error {
	lines := []string{
		fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 2", sentinelName, e.servers[0].proxy.port()),
		"sentinel down-after-milliseconds " + sentinelName + " 1000", "sentinel failover-timeout " + sentinelName + " 5000", "",
	}
	for n := range 3 {
		dir := filepath.Join(folder, "sentinel-"+strconv.Itoa(n+1))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		program := servers.RedisProgram()
		program.Command = func(installed string, port int) []string {
			text := fmt.Sprintf("bind 127.0.0.1\nport %d\n%s", port, strings.Join(lines, "\n"))
			return []string{"/bin/sh", "-c", `test -e sentinel.conf || printf %s "$1" >sentinel.conf; exec "$0" sentinel.conf --sentinel`,
				installed + "/redis-server", text}
		}
		p, err := servers.Launch(ctx, program, dir)
		if err != nil {
			return err
		}
		e.guards = append(e.guards, p)
	}
	return e.wait(ctx)
}

// wait waits until the engine is whole: each server of a cluster sees all, the replica is in step, and each sentinel knows of it.
func (e *engine) wait(ctx context.Context) error {
	var want []func() error
	says := func(address, part string, command ...string) {
		want = append(want, func() error {
			answer, err := ask(ctx, address, command...)
			if err == nil && !strings.Contains(answer, part) {
				err = fmt.Errorf("%v: %q has no %s", command, answer, part)
			}
			return err
		})
	}
	for _, s := range e.servers {
		says(s.process.Address(), "loading:0", "info", "persistence")
		if e.kind == sharded {
			says(s.process.Address(), "cluster_state:ok", "cluster", "info")
			says(s.process.Address(), "cluster_known_nodes:3", "cluster", "info")
		}
	}
	if e.kind == sentinel {
		want = append(want, func() error {
			primary, err := e.primary(ctx)
			if err != nil {
				return err
			}
			answer, err := primary.say(ctx, "info", "replication")
			if err == nil && !strings.Contains(answer, "state=online") {
				err = errors.New("the primary has no replica")
			}
			return err
		})
		for _, g := range e.guards {
			says(g.Address(), "status=ok", "info", "sentinel")
			says(g.Address(), "slaves=1,sentinels=3", "info", "sentinel")
		}
	}
	const patience = 90 * time.Second
	for end := time.Now().Add(patience); len(want) > 0; {
		err := want[0]()
		if err == nil {
			want = want[1:]
			continue
		}
		if time.Now().After(end) || !sleep(ctx, 50*time.Millisecond) {
			return fmt.Errorf("redis is not whole: %w", err)
		}
	}
	return nil
}

// primary returns the server that is the primary by its own account and that of the sentinels; of a single Redis it is the one.
func (e *engine) primary(ctx context.Context) (*server, error) {
	if e.kind != sentinel {
		return e.servers[0], nil
	}
	var told string
	for _, g := range e.guards {
		answer, err := ask(ctx, g.Address(), "sentinel", "get-master-addr-by-name", sentinelName)
		if err != nil || told != "" && told != answer {
			return nil, errors.Join(errors.New("the sentinels do not agree"), err)
		}
		told = answer
	}
	for _, s := range e.servers {
		if strings.HasSuffix(told, strconv.Itoa(s.proxy.port())) {
			role, err := s.say(ctx, "role")
			if err == nil && !strings.HasPrefix(role, "master") {
				err = errors.New("the primary is not that yet")
			}
			return s, err
		}
	}
	return nil, fmt.Errorf("the sentinels name %s", told)
}

// mark returns what forgets all that the server has written since; call it while the server is down.
func (s *server) mark() (forget func() error, err error) { return servers.RedisMark(s.process) }

// set changes how all servers are reached by a user.
func (e *engine) set(user string, l line) {
	for _, s := range e.servers {
		s.proxy.set(user, l)
	}
}

// configuration returns what a node's configuration has for Redis.
func (e *engine) configuration(user string) string {
	var addresses []string
	if e.kind == sentinel {
		for _, g := range e.guards {
			addresses = append(addresses, strconv.Quote(g.Address()))
		}
		return fmt.Sprintf("{addresses: [%s], sentinel: {primary: %s}, username: %s, password: %s}", strings.Join(addresses, ", "), sentinelName, user, password)
	}
	for _, s := range e.servers {
		addresses = append(addresses, strconv.Quote(s.proxy.address()))
	}
	return fmt.Sprintf("{addresses: [%s], username: %s, password: %s}", strings.Join(addresses, ", "), user, password)
}

// client returns a client of the whole engine.
func (e *engine) client() (rueidis.Client, error) {
	o := rueidis.ClientOption{DisableCache: true}
	if e.kind == sentinel {
		o.Sentinel.MasterSet = sentinelName
		for _, g := range e.guards {
			o.InitAddress = append(o.InitAddress, g.Address())
		}
	} else {
		for _, s := range e.servers {
			o.InitAddress = append(o.InitAddress, s.proxy.address())
		}
	}
	return rueidis.NewClient(o)
}

func (e *engine) close() {
	for _, g := range e.guards {
		g.Kill()
	}
	for _, s := range e.servers {
		if s.process != nil {
			s.process.Kill()
		}
		s.proxy.close()
	}
}

// say sends a command to the server itself, past its proxy.
func (s *server) say(ctx context.Context, command ...string) (string, error) {
	return ask(ctx, s.process.Address(), command...)
}

// ask sends a command to a server and returns its answer as text.
func ask(ctx context.Context, address string, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}, ForceSingleClient: true, DisableCache: true, DisableRetry: true})
	if err != nil {
		return "", err
	}
	defer c.Close()
	message, err := c.Do(ctx, c.B().Arbitrary(command...).Build()).ToMessage()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(command, " "), err)
	}
	if message.IsArray() {
		list, err := message.ToArray()
		var parts []string
		for _, m := range list {
			text, _ := m.ToString() // those that are lists are of no interest
			parts = append(parts, text)
		}
		return strings.Join(parts, " "), err
	}
	return message.ToString()
}
