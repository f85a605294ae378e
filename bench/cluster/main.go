// Command cluster measures what a cluster of three gateways costs above a single one, and what a message across nodes costs, beside three
// servers of NATS. It starts all of them itself, on one processor; the load is on another.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/internal/message"
)

type options struct {
	Only string `default:"" enum:",connect,idle,acknowledged,cost" help:"Only this part: connect, idle, acknowledged or cost."`

	Devices  int           `default:"5000" help:"Devices of connect and idle."`
	Pairs    int           `default:"48" help:"Publishers, each with a subscriber at another node."`
	Duration time.Duration `default:"10s" help:"Time that each load is measured."`
	Reps     int           `default:"3" help:"Repetitions of cost."`
	Profile  string        `help:"Write a CPU profile of the first gateway in cost to this file."`
	CPU      int           `default:"0" help:"Processor of the servers."`
	Data     string        `default:"out/bench-cluster" help:"Folder for files."`
	Longline string        `default:"bin/longline" help:"The gateway's program."`
	NATS     string        `default:"out/servers/nats/nats-server" help:"The program of NATS."`
}

func main() {
	var o options
	bench.Program("cluster", "Measure a cluster of three gateways.", &o, o.run)
}

func (o *options) run(ctx context.Context) error {
	if runtime.NumCPU() > 1 {
		if err := bench.Pin((o.CPU + 1) % runtime.NumCPU()); err != nil {
			return err
		}
	}
	fmt.Printf("%v\n\n", bench.ThisMachine())
	for _, part := range []struct {
		name string
		run  func(ctx context.Context) (bench.Grid, error)
	}{
		{"connect", o.connect},
		{"idle", o.idle},
		{"acknowledged", o.acknowledged},
		{"cost", o.cost},
	} {
		if o.Only != "" && o.Only != part.name {
			continue
		}
		grid, err := part.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		fmt.Println(grid)
	}
	return nil
}

// connect measures what a connection costs a node in a cluster and a single one.
func (o *options) connect(ctx context.Context) (bench.Grid, error) {
	grid := bench.Grid{{"connect", "CPU of the gateway, us", "commands of redis"}}
	for _, count := range []int{0, nodes} {
		cpu, commands, err := o.connected(ctx, count)
		if err != nil {
			return nil, err
		}
		grid = append(grid, []string{named(count), fmt.Sprintf("%.1f", bench.Micros(cpu)), fmt.Sprintf("%.2f", commands)})
	}
	return grid, nil
}

func named(count int) string {
	if count == 0 {
		return "a single node"
	}
	return fmt.Sprintf("a node of %d", count)
}

// startOne starts a gateway alone, or a cluster.
func (o *options) startOne(ctx context.Context, count int, disk bool) (*group, error) {
	if count > 0 {
		return o.startCluster(ctx, count)
	}
	dir, err := o.folder("single")
	if err != nil {
		return nil, err
	}
	more := ""
	if disk {
		more = fmt.Sprintf("store: {path: %q}\n", filepath.Join(dir, "store"))
	}
	n, err := startGateway(ctx, o.CPU, o.Longline, dir, "single", more)
	if err != nil {
		return nil, err
	}
	g := new(group)
	g.processes, g.devices, g.mqtt = append(g.processes, n.process), append(g.devices, n.devices), append(g.mqtt, n.mqtt)
	return g, nil
}

func (o *options) connected(ctx context.Context, count int) (cpu time.Duration, commands float64, err error) {
	g, err := o.startOne(ctx, count, false)
	if err != nil {
		return 0, 0, err
	}
	defer g.stop()
	first := bench.Process(g.processes[0].Process.Pid)
	target := bench.Target{Addr: g.devices[0], Devices: "d", Process: first}
	for range 2 { // the first time warms up
		if err := first.Rest(ctx); err != nil {
			return 0, 0, err
		}
		before, err := first.CPU()
		if err != nil {
			return 0, 0, err
		}
		sent, err := g.commands(ctx)
		if err != nil {
			return 0, 0, err
		}
		c, err := bench.Start(target, o.Devices, 64)
		if err != nil {
			return 0, 0, err
		}
		_, err = c.Opened(ctx)
		after, more := first.CPU()
		if err == nil {
			err = more
		}
		now, more := g.commands(ctx)
		c.Close()
		if err == nil {
			err = more
		}
		if err != nil {
			return 0, 0, err
		}
		cpu, commands = (after-before)/time.Duration(o.Devices), (now-sent)/float64(o.Devices)
	}
	return cpu, commands, nil
}

// commands returns the commands of the engine, 0 without one.
func (g *group) commands(ctx context.Context) (float64, error) {
	if g.engine == nil {
		return 0, nil
	}
	return g.engine.commands(ctx)
}

// idle measures the memory of an idle device: beside a node alone that keeps as much, so one with a store on disk if sessions outlive their
// connections.
func (o *options) idle(ctx context.Context) (bench.Grid, error) {
	grid := bench.Grid{{"idle device", "session", "bytes"}}
	for _, r := range []struct {
		count       int
		stays, disk bool
		name        string
	}{
		{0, false, false, "a single node"},
		{nodes, false, false, named(nodes)},
		{0, true, true, "a single node with a store on disk"},
		{nodes, true, false, named(nodes)},
	} {
		bytes, err := o.rests(ctx, r.count, r.stays, r.disk)
		if err != nil {
			return nil, err
		}
		grid = append(grid, []string{r.name, lasts(r.stays), fmt.Sprintf("%.0f", bytes)})
	}
	return grid, nil
}

// lasts says how long a session lasts.
func lasts(stays bool) string {
	if stays {
		return "stays"
	}
	return "ends with the connection"
}

func (o *options) rests(ctx context.Context, count int, stays, disk bool) (float64, error) {
	g, err := o.startOne(ctx, count, disk)
	if err != nil {
		return 0, err
	}
	defer g.stop()
	first := bench.Process(g.processes[0].Process.Pid)
	var memory [2]uint64
	var clients []*bench.Client
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	for i, devices := range []int{o.Devices, 2 * o.Devices} { // what does not grow with devices counts in neither
		target := bench.Target{Addr: g.devices[0], Devices: fmt.Sprintf("i%d-", i), Process: first, MQTT: &bench.MQTT{Stays: stays}}
		c, err := bench.Connect(ctx, target, devices)
		if err != nil {
			return 0, err
		}
		clients = append(clients, c)
		if memory[i], err = first.FreeMemory(ctx); err != nil {
			return 0, err
		}
	}
	return (float64(memory[1]) - float64(memory[0])) / float64(2*o.Devices), nil
}

// acknowledged measures QoS 1 across nodes.
func (o *options) acknowledged(ctx context.Context) (bench.Grid, error) {
	grid := bench.Grid{{"QoS 1 across nodes", "subscriber's session", "acknowledged, ms: p50", "p99", "delivered, ms: p50", "p99", "commands per message", "CPU per message, us"}}
	for _, stays := range []bool{false, true} {
		for _, rate := range []float64{2000, 20_000} {
			row, err := o.across(ctx, rate, stays)
			if err != nil {
				return grid, fmt.Errorf("%.0f/s: %w", rate, err)
			}
			grid = append(grid, row)
		}
	}
	return grid, nil
}

func (o *options) across(ctx context.Context, rate float64, stays bool) ([]string, error) {
	g, err := o.startCluster(ctx, nodes)
	if err != nil {
		return nil, err
	}
	defer g.stop()
	r, err := o.crosses(ctx, g, message.AtLeastOnce, rate, stays)
	if err != nil {
		return nil, err
	}
	return []string{
		fmt.Sprintf("%.0f/s", rate), lasts(stays), ms(r.load.answers.ValueAtPercentile(50)), ms(r.load.answers.ValueAtPercentile(99)),
		ms(r.load.arrive.ValueAtPercentile(50)), ms(r.load.arrive.ValueAtPercentile(99)),
		fmt.Sprintf("%.3f", r.commands), fmt.Sprintf("%.1f", bench.Micros(r.cpu)),
	}, nil
}

func ms(ns int64) string { return fmt.Sprintf("%.2f", float64(ns)/1e6) }

// crossing is what a load across nodes cost.
type crossing struct {
	load     *load
	cpu      time.Duration // of all servers and the engine, per message
	commands float64       // per message
}

const warmup = 2 * time.Second

func (o *options) crosses(ctx context.Context, g *group, qos message.QoS, rate float64, stays bool) (*crossing, error) {
	l, err := newLoad(ctx, g.mqtt, o.Pairs, qos, stays)
	if err != nil {
		return nil, err
	}
	defer l.close()
	if err := g.known(ctx, l); err != nil {
		return nil, err
	}
	if err := l.run(ctx, rate, warmup); err != nil {
		return nil, err
	}
	l.forget()
	n := l.received.Load()
	before, err := g.cpu()
	if err != nil {
		return nil, err
	}
	sent, err := g.commands(ctx)
	if err != nil {
		return nil, err
	}
	profiled := make(chan error, 1)
	go func() { profiled <- o.profile(ctx, g, qos) }()
	if err := l.run(ctx, rate, o.Duration); err != nil {
		return nil, err
	}
	if err := <-profiled; err != nil {
		return nil, err
	}
	after, err := g.cpu()
	if err != nil {
		return nil, err
	}
	now, err := g.commands(ctx)
	if err != nil {
		return nil, err
	}
	n = l.received.Load() - n
	return &crossing{l, (after - before) / time.Duration(n), (now - sent) / float64(n)}, nil
}

// profile writes a profile of the first gateway, if that is wanted.
func (o *options) profile(ctx context.Context, g *group, qos message.QoS) error {
	if o.Profile == "" || qos != message.AtMostOnce || g.engine == nil {
		return nil
	}
	admin := bench.Admin{URL: "http://" + g.admin.String(), Client: http.DefaultClient}
	p, err := admin.Get(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", max(1, int(o.Duration.Seconds())-1)))
	if err != nil {
		return err
	}
	return os.WriteFile(o.Profile, p, 0o600)
}

// known publishes until each subscriber has had a message: the nodes know of each other's subscriptions only then.
func (g *group) known(ctx context.Context, l *load) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		l.published.Store(0)
		l.received.Store(0)
		l.acknowledged.Store(0)
		for _, p := range l.pairs {
			p.publish()
			if err := p.flush(); err != nil {
				return err
			}
		}
		for end := time.Now().Add(time.Second); time.Now().Before(end); {
			if l.received.Load() == uint64(len(l.pairs)) && (l.qos == 0 || l.acknowledged.Load() == l.received.Load()) {
				return nil
			}
			time.Sleep(10 * time.Millisecond)
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("of %d subscribers %d get messages", len(l.pairs), l.received.Load())
		}
	}
}

// cost measures what a message of QoS 0 across nodes costs all servers, beside NATS.
func (o *options) cost(ctx context.Context) (bench.Grid, error) {
	grid := bench.Grid{{"QoS 0 across nodes, 20000/s", "CPU of all servers and the engine, us", "delivered, ms: p50", "p99"}}
	for range o.Reps {
		for _, s := range []struct {
			name  string
			start func(ctx context.Context) (*group, error)
		}{
			{"longline, redis", func(ctx context.Context) (*group, error) { return o.startCluster(ctx, nodes) }},
			{"nats", o.startNATS},
		} {
			row, err := o.costs(ctx, s.name, s.start)
			if err != nil {
				return grid, fmt.Errorf("%s: %w", s.name, err)
			}
			grid = append(grid, row)
		}
	}
	return grid, nil
}

func (o *options) costs(ctx context.Context, name string, start func(ctx context.Context) (*group, error)) ([]string, error) {
	g, err := start(ctx)
	if err != nil {
		return nil, err
	}
	defer g.stop()
	r, err := o.crosses(ctx, g, message.AtMostOnce, 20_000, false)
	if err != nil {
		return nil, err
	}
	return []string{name, fmt.Sprintf("%.1f", bench.Micros(r.cpu)), ms(r.load.arrive.ValueAtPercentile(50)), ms(r.load.arrive.ValueAtPercentile(99))}, nil
}
