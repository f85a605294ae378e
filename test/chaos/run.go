package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/longline/longline/test/account"
	"github.com/longline/longline/test/clients"
)

// nodes is how many there are.
const nodes = 3

// options are the options of a run.
type options struct {
	Duration time.Duration `default:"10m" help:"How long things go wrong (${default}). What is on its way arrives after that."`
	Seed     uint64        `help:"Seed of the plan and of the devices; 0 means a new one."`
	Redis    string        `default:"single" enum:"single,cluster,sentinel,none" help:"One Redis, a Redis Cluster of three, or a primary with a replica and three sentinels; none: one node without a cluster, to try the test itself (${default})."`
	Devices  int           `default:"3000" help:"Number of devices (${default})."`
	Pace     time.Duration `default:"3s" help:"Time between two messages of a device (${default})."`
	Stay     time.Duration `default:"30s" help:"How long a device stays at a node, on average (${default})."`
	Lease    time.Duration `default:"5s" help:"Lease of the nodes (${default})."`
	Clocks   bool          `default:"true" negatable:"" help:"Let the clocks of the nodes differ by minutes. The gateway is built for that."`
	Commands bool          `default:"true" negatable:"" help:"Give commands to devices."`
	Only     []kind        `placeholder:"KIND" help:"Let only these things go wrong: kill-node, end-node, stop-node, cut-node, cut-all, kill-redis, lose-redis, stop-redis, fail-over, lose-over."`
	Faults   bool          `default:"true" negatable:"" help:"Let things go wrong."`
	Longline string        `default:"bin/longline" type:"existingfile" help:"The gateway's program, with --no-clocks (${default})."`
	Logs     string        `placeholder:"FOLDER" help:"Write the logs of the nodes to this folder."`
	Drop     int           `hidden:"" help:"Forget this arrival, to see that it is found."`
}

var errBroken = errors.New("a promise is broken")

// run is one run.
type run struct {
	options  *options
	book     *account.Book
	engine   *engine
	cluster  *cluster
	fleet    *clients.Fleet
	player   *player
	commands *clients.Judgement // nil: none were given
	agreed   string
	verdict  *account.Verdict
	kept     map[string]int // what is retained at a node

	told, twice int           // what came on old connections before their nodes were told, and after that
	slowest     time.Duration // of these
}

// Run makes a run.
func (o *options) Run(ctx context.Context) error {
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	fmt.Printf("seed %d, redis %s, %d devices\n", o.Seed, o.Redis, o.Devices)
	folder, err := os.MkdirTemp("", "longline-chaos")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	r := &run{options: o}
	program, err := filepath.Abs(o.Longline)
	if err == nil && o.Clocks {
		program, err = buildLongline(ctx, folder)
	}
	if err != nil {
		return err
	}
	r.book = account.NewBook()
	r.book.Drop = o.Drop
	var texts []string
	if o.Redis == "none" {
		texts = append(texts, fmt.Sprintf(aloneConfiguration, filepath.Join(folder, "data")))
	} else {
		var users []string
		for i := range nodes {
			users = append(users, nodeName(i))
		}
		if r.engine, err = startEngine(ctx, o.Redis, folder, users); err != nil {
			return err
		}
		defer r.engine.close()
		for _, user := range users {
			texts = append(texts, fmt.Sprintf(nodeConfiguration, user, o.Lease, r.engine.configuration(user)))
		}
	}
	if r.cluster, err = newCluster(r.book, o.Seed, program, folder, texts); err != nil {
		return err
	}
	defer r.cluster.kill()
	r.player = &player{cluster: r.cluster, engine: r.engine}
	r.fleet = &clients.Fleet{
		Gateways: r.cluster, Book: r.book, Seed: o.Seed, Pace: o.Pace, BackendPace: 50 * time.Millisecond, Patience: min(20*time.Second, o.Duration/3),
		Stay: o.Stay, Retry: 2 * time.Second, ConnectTimeout: 5 * time.Second, Direct: true, Superseded: clients.NewSuperseded(r.book.Now),
	}
	if o.Commands {
		r.fleet.Orders = new(clients.Orders)
	}
	v, err := r.do(ctx)
	if o.Logs != "" {
		for _, n := range r.cluster.nodes {
			err = errors.Join(err, n.gateway.WriteLog(filepath.Join(o.Logs, n.name+".log")))
		}
	}
	if err != nil {
		return err
	}
	r.report(os.Stdout, v)
	if !v.Holds() {
		return errBroken
	}
	return nil
}

// do lets the fleet work while things go wrong, then lets everything arrive, and judges.
func (r *run) do(ctx context.Context) (*account.Verdict, error) {
	plan := newPlanner(r.options.Seed, r.options.Redis, r.options.Lease)
	plan.only = r.options.Only
	for _, n := range r.cluster.nodes {
		if err := r.cluster.start(ctx, n, plan.clock()); err != nil {
			return nil, err
		}
	}
	devices, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	r.fleet.Run(devices, r.options.Devices, &all)
	if err := r.connected(ctx); err != nil {
		return nil, err
	}
	fmt.Printf("%v all devices have connected\n", r.book.Now().Round(100*time.Millisecond))
	if !r.options.Faults {
		sleep(ctx, r.options.Duration)
	} else if err := r.player.play(ctx, plan, r.options.Duration); err != nil {
		return nil, err
	}
	r.fleet.Calm.Store(true)
	fmt.Printf("%v the faults are over\n", r.book.Now().Round(100*time.Millisecond))
	v := r.settle(ctx)
	r.verdict = v
	if r.fleet.Orders != nil {
		if err := r.settleCommands(ctx); err != nil {
			return nil, err
		}
	}
	if err := r.agree(ctx); err != nil {
		return nil, err
	}
	r.judgeSuperseded()
	v.Faults = r.book.Faults()
	stop()
	all.Wait()
	return v, ctx.Err()
}

// connected waits until each device has connected once.
func (r *run) connected(ctx context.Context) error {
	for end := r.book.Now() + 2*time.Minute; ; {
		n := 0
		for _, name := range r.fleet.Names(r.options.Devices) {
			if r.cluster.nodeOf(name) != nil {
				n++
			}
		}
		if n == r.options.Devices {
			return nil
		}
		if r.book.Now() > end {
			return fmt.Errorf("only %d of %d devices connect", n, r.options.Devices)
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// settle waits until all that is due has arrived, or nothing comes any more.
func (r *run) settle(ctx context.Context) *account.Verdict {
	quiet := max(30*time.Second, 4*r.options.Lease) // longer than any wait in a client or a gateway
	began := r.book.Now()
	for ctx.Err() == nil {
		if r.book.Now() > began+3*time.Minute {
			r.book.Fault("the fleet does not come to rest")
			break
		}
		open := len(r.book.Open())
		if open == 0 && len(r.book.Verdict().Lost) == min(r.options.Drop, 1) || min(r.book.Quiet(), r.book.Now()-began) > quiet {
			break
		}
		r.fleet.Pause(ctx, time.Second)
	}
	if open := r.book.Open(); len(open) > 0 {
		text := fmt.Sprint(open)
		r.book.Fault(fmt.Sprintf("messages of %d publishers got no answer: %.1000s", len(open), text))
	}
	return r.book.Verdict()
}

// settleCommands waits until the commands have ended, all of which have little time, and judges them.
func (r *run) settleCommands(ctx context.Context) (err error) {
	const limit = 30 * time.Second // more than any ttl
	for deadline := r.book.Now() + limit; ; r.fleet.Pause(ctx, time.Second) {
		if r.commands, err = r.fleet.Orders.Judge(ctx, r.cluster); err != nil {
			return fmt.Errorf("commands: %w", err)
		}
		if r.commands.States["queued"]+r.commands.States["sent"] == 0 || r.book.Now() > deadline {
			for _, wrong := range r.commands.Wrong {
				r.book.Fault(wrong)
			}
			return nil
		}
	}
}

// toldTime is how long a node may take until it is told that another one has a device. Until then something may come on the old connection.
const toldTime = 2 * time.Second

// judgeSuperseded finds what came on old connections after the new ones were accepted.
func (r *run) judgeSuperseded() {
	_, open, slow, late := r.fleet.Superseded.Report()
	for _, o := range open {
		r.book.Fault("an old connection is still open: " + o)
	}
	for _, s := range slow {
		r.book.Event("superseded", s)
	}
	for _, l := range late {
		n := r.cluster.nodeAt(l.Address)
		after := l.At - l.Accepted
		r.slowest = max(r.slowest, after)
		text := fmt.Sprintf("%s got %s from %s %v after another node had accepted it (at %v)", l.Client, l.What, n.name, after, l.Accepted)
		switch {
		case after < toldTime:
		case after < r.options.Lease+toldTime && n.cutOff(l.Accepted-r.options.Lease, l.At): // it could not be told, and its lease was valid
		default:
			r.twice++
			r.book.Fault("served twice: " + text)
			continue
		}
		r.told++
		r.book.Event("superseded", text)
	}
}
