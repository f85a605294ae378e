package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/longline/longline/test/account"
)

// failuresCommand lets single things go wrong, one after another, while many light devices are connected and get messages of QoS 1.
type failuresCommand struct {
	Devices  int           `default:"30000" help:"Number of devices (${default})."`
	Rate     int           `default:"300" help:"Messages per second to single devices, of all together (${default})."`
	Lease    time.Duration `default:"10s" help:"Lease of the nodes (${default})."`
	Away     time.Duration `default:"30s" help:"How long a node is stopped, and how long Redis is away (${default})."`
	Longline string        `default:"bin/longline" type:"existingfile" help:"The gateway's program (${default})."`
	Logs     string        `placeholder:"FOLDER" help:"Write the logs of the nodes to this folder."`
}

// failures is one run.
type failures struct {
	options *failuresCommand
	book    *account.Book
	engine  *engine
	cluster *cluster
	groups  []*group
	failed  bool // a bar is not met

	sent  atomic.Int64
	mu    sync.Mutex
	acked map[string]bool // "DEVICE NUMBER"
}

// perProcess is how many light devices one process has, below the limit of descriptors.
const perProcess = 15000

// Run makes a run.
func (o *failuresCommand) Run(ctx context.Context) error {
	folder, err := os.MkdirTemp("", "longline-failures")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	f := &failures{options: o, book: account.NewBook(), acked: make(map[string]bool)}
	var users []string
	for i := range nodes {
		users = append(users, nodeName(i))
	}
	if f.engine, err = startEngine(ctx, single, folder, users); err != nil {
		return err
	}
	defer f.engine.close()
	var texts []string
	for _, user := range users {
		texts = append(texts, fmt.Sprintf(nodeConfiguration, user, o.Lease, f.engine.configuration(user)))
	}
	program, err := filepath.Abs(o.Longline)
	if err != nil {
		return err
	}
	if f.cluster, err = newCluster(f.book, 0, program, folder, texts); err != nil {
		return err
	}
	defer f.cluster.kill()
	err = f.do(ctx)
	if o.Logs != "" {
		for _, n := range f.cluster.nodes {
			err = errors.Join(err, n.gateway.WriteLog(filepath.Join(o.Logs, n.name+".log")))
		}
	}
	if err == nil && f.failed {
		err = errBroken
	}
	return err
}

func (f *failures) do(ctx context.Context) error {
	for _, n := range f.cluster.nodes {
		if err := f.cluster.start(ctx, n, 0); err != nil {
			return err
		}
	}
	defer func() {
		for _, g := range f.groups {
			g.kill()
		}
	}()
	for first := 0; first < f.options.Devices; first += perProcess {
		g, err := startGroup(first, min(perProcess, f.options.Devices-first))
		if err != nil {
			return err
		}
		f.groups = append(f.groups, g)
	}
	began := time.Now()
	f.order("nodes " + f.addresses())
	if err := f.await(ctx, 3*time.Minute, f.allConnected); err != nil {
		return err
	}
	fmt.Printf("%d devices connected and subscribed in %.1f s\n", f.options.Devices, time.Since(began).Seconds())
	publishing, stop := context.WithCancel(ctx)
	defer stop()
	var publishers sync.WaitGroup
	f.publish(publishing, &publishers)
	for _, phase := range []func(context.Context) error{f.killed, f.stopped, f.redisAway, f.redisForgets} {
		sleep(ctx, 3*time.Second)
		if err := phase(ctx); err != nil {
			return err
		}
	}
	sleep(ctx, 3*time.Second)
	stop()
	publishers.Wait()
	return f.judge(ctx)
}

// bar prints a figure and its bar, and notes whether it is met.
func (f *failures) bar(what string, met bool, format string, args ...any) {
	word := "holds"
	if !met {
		word, f.failed = "DOES NOT HOLD", true
	}
	fmt.Printf("%s: %s (%s)\n", what, fmt.Sprintf(format, args...), word)
}

// killed kills one of the nodes, and measures how long its devices are away.
func (f *failures) killed(ctx context.Context) error {
	n := f.cluster.nodes[1]
	before := f.sum()
	began := time.Now()
	n.gateway.Kill()
	f.order("nodes " + f.addresses())
	if err := f.await(ctx, time.Minute, func(t tally) bool { return t.Ended > before.Ended }); err != nil {
		return err
	}
	err := f.await(ctx, 2*time.Minute, f.allConnected)
	took := time.Since(began)
	after := f.sum()
	back, resumed := after.Accepted-before.Accepted, after.Resumed-before.Resumed
	f.bar("kill -9 of one of three nodes", err == nil && took <= 15*time.Second && back == resumed,
		"%d devices connected again, %d sessions resumed, all back after %.1f s; bar 15 s", back, resumed, took.Seconds())
	if err != nil {
		return err
	}
	sleep(ctx, 2*f.options.Lease) // until the survivors have adopted it
	if err := f.cluster.start(ctx, n, 0); err != nil {
		return err
	}
	f.order("nodes " + f.addresses())
	return nil
}

// stopped stops a node, so that its devices go elsewhere, and lets it go on.
func (f *failures) stopped(ctx context.Context) error {
	n := f.cluster.nodes[2]
	f.order("patience 3s")
	before := f.sum()
	if err := n.gateway.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	sleep(ctx, f.options.Away)
	during := f.sum()
	if err := n.gateway.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	f.order("patience 10m")
	sleep(ctx, 10*time.Second)
	if !n.gateway.Alive() {
		fmt.Printf("%s has ended: %s\n", n.name, n.gateway.LastLine())
		n.gateway.Kill()
		if err := f.cluster.start(ctx, n, 0); err != nil {
			return err
		}
		f.order("nodes " + f.addresses())
	}
	err := f.await(ctx, time.Minute, f.allConnected)
	after := f.sum()
	f.bar(fmt.Sprintf("SIGSTOP for %v, then continue", f.options.Away), err == nil && after.Late == before.Late,
		"%d devices went elsewhere meanwhile, %d of their old connections are still open, served twice %d %v; bar 0", during.Impatient-before.Impatient, after.Open, after.Late-before.Late, after.Kinds)
	return err
}

// redisAway makes Redis unreachable for all nodes for a while.
func (f *failures) redisAway(ctx context.Context) error {
	return f.without(ctx, "Redis away", func() error {
		f.lines(severed)
		sleep(ctx, f.options.Away)
		f.lines(whole)
		return nil
	})
}

// redisForgets kills Redis, which is away for a while, and comes back without its last second.
func (f *failures) redisForgets(ctx context.Context) error {
	p := &player{cluster: f.cluster, engine: f.engine}
	return f.without(ctx, "Redis killed, and back without its last second after", func() error {
		return p.redis(ctx, fault{kind: loseRedis, lasts: f.options.Away})
	})
}

func (f *failures) without(ctx context.Context, what string, do func() error) error {
	before, sent := f.sum(), f.sent.Load()
	if err := do(); err != nil {
		return err
	}
	during := f.sent.Load() - sent
	began := time.Now()
	err := f.await(ctx, time.Minute, func(tally) bool { return f.sent.Load() > sent+during+int64(f.options.Rate) })
	took := time.Since(began)
	sleep(ctx, 5*time.Second)
	after := f.sum()
	cut := after.Ended - before.Ended
	f.bar(fmt.Sprintf("%s %v", what, f.options.Away), err == nil && cut == 0 && after.Late == before.Late,
		"%d devices cut off, served twice %d; bars 0 and 0; messages go on %.1f s after it is back", cut, after.Late-before.Late, took.Seconds())
	return err
}

func (f *failures) lines(l line) {
	for _, n := range f.cluster.nodes {
		f.engine.set(n.name, l)
	}
}

// judge compares what was acknowledged to the publishers with what has arrived.
func (f *failures) judge(ctx context.Context) error {
	sleep(ctx, 10*time.Second)
	arrived := make(map[string]int)
	for _, g := range f.groups {
		t, err := g.end()
		if err != nil {
			return err
		}
		for message, n := range t.Arrived {
			arrived[message] += n
		}
	}
	lost, twice := 0, 0
	var some []string
	for message := range f.acked {
		if arrived[message] == 0 {
			lost++
			if len(some) < 20 {
				some = append(some, message)
			}
		}
	}
	for _, n := range arrived {
		if n > 1 {
			twice++
		}
	}
	f.bar("messages of QoS 1 to single devices", lost == 0, "acknowledged %d, lost %d %v, arrived more than once %d", len(f.acked), lost, some, twice)
	return ctx.Err()
}

// publish publishes to one device after the other, until ctx ends.
func (f *failures) publish(ctx context.Context, all *sync.WaitGroup) {
	const workers = 16
	var next atomic.Int64
	for range workers {
		all.Go(func() {
			client := &http.Client{Timeout: 20 * time.Second}
			tick := time.NewTicker(time.Second * workers / time.Duration(f.options.Rate))
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
				n := int(next.Add(1))
				f.one(ctx, client, lightName(n*7919%f.options.Devices), n)
			}
		})
	}
}

// one publishes one message, by a node that answers.
func (f *failures) one(ctx context.Context, client *http.Client, device string, number int) {
	body := fmt.Appendf(nil, `{"message": {"topic": "device/%s/down", "text": "%d x", "qos": 1}}`, device, number)
	for try := number; ctx.Err() == nil; try++ {
		at, err := f.cluster.nodes[try%nodes].gateway.Addresses()
		if err == nil {
			var answer *http.Response
			answer, err = client.Post("http://"+at.Admin+"/longline.v1.Gateway/Publish", "application/json", bytes.NewReader(body))
			if err == nil {
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
				if answer.StatusCode == http.StatusOK {
					f.sent.Add(1)
					f.mu.Lock()
					f.acked[fmt.Sprintf("%s %d", device, number)] = true
					f.mu.Unlock()
					return
				}
			}
		}
		sleep(ctx, 100*time.Millisecond)
	}
}

// addresses returns where the nodes that are up take MQTT.
func (f *failures) addresses() string {
	var list []string
	for _, n := range f.cluster.nodes {
		if at, err := n.gateway.Addresses(); err == nil {
			list = append(list, at.MQTT)
		}
	}
	return strings.Join(list, " ")
}

func (f *failures) order(text string) {
	for _, g := range f.groups {
		g.order(text)
	}
}

// sum returns what all devices have counted.
func (f *failures) sum() (t tally) {
	t.Kinds = make(map[string]int)
	for _, g := range f.groups {
		one := g.tally()
		t.Connected += one.Connected
		t.Accepted += one.Accepted
		t.Resumed += one.Resumed
		t.Ended += one.Ended
		t.Impatient += one.Impatient
		t.Superseded += one.Superseded
		t.Open += one.Open
		t.Late += one.Late
		for kind, n := range one.Kinds {
			t.Kinds[kind] += n
		}
	}
	return t
}

func (f *failures) allConnected(t tally) bool { return int(t.Connected) == f.options.Devices }

// await waits until the devices have counted what is wanted.
func (f *failures) await(ctx context.Context, most time.Duration, reached func(tally) bool) error {
	for end := time.Now().Add(most); ; {
		t := f.sum()
		if reached(t) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("after %v: %+v", most, t)
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// group is a process of light devices.
type group struct {
	process *exec.Cmd
	orders  io.Writer
	ended   chan struct{}

	mu   sync.Mutex
	last tally
}

func startGroup(first, count int) (*group, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := exec.Command(self, "light", fmt.Sprintf("--first=%d", first), fmt.Sprintf("--count=%d", count))
	c.Stderr, c.SysProcAttr = os.Stderr, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	orders, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	tallies, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	g := &group{process: c, orders: orders, ended: make(chan struct{})}
	go g.read(tallies)
	return g, nil
}

func (g *group) read(from io.Reader) {
	defer close(g.ended)
	for decoder := json.NewDecoder(bufio.NewReader(from)); ; {
		var t tally
		if decoder.Decode(&t) != nil {
			return
		}
		g.mu.Lock()
		g.last = t
		g.mu.Unlock()
	}
}

func (g *group) order(text string) { _, _ = fmt.Fprintln(g.orders, text) } // what it does not do is missing in its tally

func (g *group) tally() tally {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// end returns the last tally, with what has arrived.
func (g *group) end() (tally, error) {
	g.order("end")
	select {
	case <-g.ended:
		return g.tally(), nil
	case <-time.After(time.Minute):
		return tally{}, errors.New("the light devices do not end")
	}
}

func (g *group) kill() {
	_ = g.process.Process.Kill()
	_ = g.process.Wait() // it was killed
}
