package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/test/servers"
)

const nodes = 3

// engine is Redis on the servers' processor.
type engine struct{ *servers.Process }

func startRedis(ctx context.Context, cpu int, dir string) (*engine, error) {
	p := servers.RedisProgram("--appendfsync", "everysec")
	command := p.Command
	p.Command = func(installed string, port int) []string {
		return append([]string{"taskset", "-c", strconv.Itoa(cpu)}, command(installed, port)...)
	}
	process, err := servers.Launch(ctx, p, dir)
	if process == nil {
		return nil, err
	}
	return &engine{process}, err
}

// commands returns how many commands Redis has had from clients. What scripts call counts as a part of the script.
func (e *engine) commands(ctx context.Context) (n float64, err error) {
	text, err := servers.RedisCommand(ctx, e.Process, "INFO", "commandstats")
	if err != nil {
		return 0, err
	}
	counts := make(map[string]float64)
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "cmdstat_"), ":calls=")
		if calls, _, cut := strings.Cut(rest, ","); ok && cut {
			if counts[name], err = strconv.ParseFloat(calls, 64); err != nil {
				return 0, err
			}
		}
	}
	// These come from clients. All others, but those of this program, are called by scripts.
	for _, name := range []string{"evalsha", "eval", "xread", "xtrim", "xadd", "sadd", "srem"} {
		n += counts[name]
	}
	return n, nil
}

// gateway is a longline serve.
type gateway struct {
	process *exec.Cmd
	devices netip.AddrPort // WebSocket
	mqtt    netip.AddrPort
	admin   netip.AddrPort
}

// startGateway starts a gateway. more is the end of its configuration.
func startGateway(ctx context.Context, cpu int, program, dir, name, more string) (g *gateway, err error) {
	g = new(gateway)
	for _, a := range []*netip.AddrPort{&g.devices, &g.mqtt, &g.admin} {
		var more error
		*a, more = bench.FreeAddress()
		err = errors.Join(err, more)
	}
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("gateway: {listen: %q, insecure: true, max_connections: 20000, mqtt: {listen: %q}}\napi: {address: %q}\n", g.devices, g.mqtt, g.admin) + more
	file, log := filepath.Join(dir, name+".yaml"), filepath.Join(dir, name+".log")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	g.process = bench.Command(ctx, cpu, program, "serve", "--config="+file)
	g.process.Stderr = out
	if err := g.process.Start(); err != nil {
		return nil, err
	}
	if err := bench.Reachable(ctx, g.mqtt); err != nil {
		bench.Stop(g.process)
		return nil, fmt.Errorf("%w: see %s", err, log)
	}
	return g, nil
}

// group is some servers that are one cluster.
type group struct {
	engine    *engine // nil if they need none
	processes []*exec.Cmd
	mqtt      []netip.AddrPort
	devices   []netip.AddrPort
	admin     netip.AddrPort // of the first gateway
}

func (g *group) stop() {
	for _, c := range g.processes {
		bench.Stop(c)
	}
	if g.engine != nil {
		g.engine.Kill()
	}
}

// cpu returns the processor time of all servers, and of the engine.
func (g *group) cpu() (sum time.Duration, err error) {
	all := make([]bench.Process, 0, nodes+1)
	for _, c := range g.processes {
		all = append(all, bench.Process(c.Process.Pid))
	}
	if g.engine != nil {
		all = append(all, bench.Process(g.engine.PID()))
	}
	for _, p := range all {
		d, more := p.CPU()
		sum, err = sum+d, errors.Join(err, more)
	}
	return sum, err
}

// startCluster starts Redis and gateways.
func (o *options) startCluster(ctx context.Context, count int) (g *group, err error) {
	dir, err := o.folder("nodes")
	if err != nil {
		return nil, err
	}
	g = new(group)
	if g.engine, err = startRedis(ctx, o.CPU, dir); err != nil {
		g.stop()
		return nil, err
	}
	for i := range count {
		name := fmt.Sprintf("gw-%d", i+1)
		n, err := startGateway(ctx, o.CPU, o.Longline, dir, name, fmt.Sprintf("cluster: {name: bench, node: %s, redis: {addresses: [%q]}}\n", name, g.engine.Address()))
		if err != nil {
			g.stop()
			return nil, err
		}
		if i == 0 {
			g.admin = n.admin
		}
		g.processes, g.mqtt, g.devices = append(g.processes, n.process), append(g.mqtt, n.mqtt), append(g.devices, n.devices)
	}
	return g, nil
}

// startNATS starts NATS servers that are one cluster, with MQTT.
func (o *options) startNATS(ctx context.Context) (g *group, err error) {
	dir, err := o.folder("nats")
	if err != nil {
		return nil, err
	}
	g = new(group)
	var routes [nodes]netip.AddrPort
	var urls []string
	for i := range routes {
		if routes[i], err = bench.FreeAddress(); err != nil {
			return nil, err
		}
		urls = append(urls, fmt.Sprintf("nats-route://%s", routes[i]))
	}
	for i := range nodes {
		client, err := bench.FreeAddress()
		at, more := bench.FreeAddress()
		if err = errors.Join(err, more); err != nil {
			g.stop()
			return nil, err
		}
		name := fmt.Sprintf("n%d", i+1)
		text := fmt.Sprintf("server_name: %s\nlisten: %q\njetstream {store_dir: %q}\nmqtt {listen: %q}\ncluster {name: bench, listen: %q, routes: [%s]}\n",
			name, client, filepath.Join(dir, name), at, routes[i], strings.Join(urls, ", "))
		file := filepath.Join(dir, name+".conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			g.stop()
			return nil, err
		}
		c := bench.Command(ctx, o.CPU, o.NATS, "-c", file, "-l", filepath.Join(dir, name+".log"))
		if err := c.Start(); err != nil {
			g.stop()
			return nil, err
		}
		g.processes, g.mqtt = append(g.processes, c), append(g.mqtt, at)
		if err := bench.Reachable(ctx, at); err != nil {
			g.stop()
			return nil, err
		}
	}
	return g, g.ready(ctx)
}

// ready waits until each server takes a client: before that NATS has no leader for its sessions.
func (g *group) ready(ctx context.Context) (err error) {
	for i, a := range g.mqtt {
		for deadline := time.Now().Add(40 * time.Second); ; {
			c, err := connect(ctx, a, fmt.Sprintf("ready-%d", i), true)
			if err == nil {
				err = c.Close()
			}
			if err == nil {
				break
			}
			if time.Now().After(deadline) || ctx.Err() != nil {
				g.stop()
				return fmt.Errorf("server %d takes no clients: %w", i+1, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	return nil
}

// folder returns an empty folder for the files of some servers.
func (o *options) folder(name string) (string, error) {
	dir, err := filepath.Abs(filepath.Join(o.Data, name))
	if err != nil {
		return "", err
	}
	return dir, errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
}
