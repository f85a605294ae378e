// Command services measures how devices' calls reach services: what a call costs the gateway beside nginx, which passes on the same
// HTTP calls, and what calls see when an instance is slow, when one dies, and when the registry is away.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/setting"
)

type options struct {
	Only string `default:"" enum:",cost,slow,death,registry" help:"Only this part: cost, slow, death or registry."`

	Rate     int           `default:"2000" help:"Calls per second."`
	Duration time.Duration `default:"10s" help:"Time that each load is measured."`
	Away     time.Duration `default:"60s" help:"Time for which the registry is away."`
	Reps     int           `default:"3" help:"Repetitions of cost."`
	Devices  int           `default:"64" help:"Devices of cost, each with one call at a time."`
	Data     string        `default:"bench/services/out" help:"Folder for files."`
	Longline string        `default:"bin/longline" help:"The gateway's program, for cost."`
	Profile  string        `help:"Write a CPU profile of the gateway in cost to this file."`

	Instance string        `hidden:"" help:"Be an instance on this address."`
	Delay    time.Duration `hidden:"" help:"How long the instance takes."`
}

// The bars.
const (
	costOfNginx  = 1.5
	shareOfRound = 0.25
)

func main() {
	var o options
	bench.Program("services", "Measure calls of services.", &o, o.run)
}

func (o *options) run(ctx context.Context) error {
	if o.Instance != "" {
		return o.serve(ctx)
	}
	if err := os.MkdirAll(o.Data, 0o755); err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{"slow", o.slow}, {"death", o.death}, {"registry", o.registry}, {"cost", o.cost}} {
		if o.Only != "" && o.Only != part.name {
			continue
		}
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// show prints a measure and whether it holds its bar; a bar below 0 is none.
func show(what string, value float64, unit string, bar float64) {
	verdict := ""
	switch {
	case bar >= 0 && value <= bar:
		verdict = fmt.Sprintf("   bar %s: held", bench.Short(bar))
	case bar >= 0:
		verdict = fmt.Sprintf("   bar %s: missed", bench.Short(bar))
	}
	fmt.Printf("%-76s %10s %s%s\n", what, bench.Short(value), unit, verdict)
}

// noBar is for show.
const noBar = -1

// serve is an instance: a process of its own, so that it can be killed.
func (o *options) serve(ctx context.Context) error {
	var connections atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("POST /", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(o.Delay)
		_, _ = w.Write([]byte(`{"ok":true}`))
	})
	mux.HandleFunc("GET /connections", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, connections.Load()-1) // without this one
	})
	server := &http.Server{Addr: o.Instance, Handler: mux, ConnState: func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			connections.Add(1)
		case http.StateClosed, http.StateHijacked:
			connections.Add(-1)
		}
	}}
	context.AfterFunc(ctx, func() { _ = server.Close() }) // the process ends then
	return server.ListenAndServe()
}

// instance is a process that answers calls.
type instance struct {
	url     string
	command *exec.Cmd
}

// startInstance starts an instance that takes delay for each call.
func (o *options) startInstance(ctx context.Context, delay time.Duration) (*instance, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	c := exec.Command(os.Args[0], "--instance", address, "--delay", delay.String())
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return nil, err
	}
	return &instance{"http://" + address, c}, listens(ctx, address)
}

// kill ends the process as kill -9 does.
func (i *instance) kill() {
	_ = i.command.Process.Kill() // it may have ended
	_ = i.command.Wait()
}

// connections returns how many connections the instance has.
func (i *instance) connections() (n int, err error) {
	r, err := http.Get(i.url + "/connections")
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	_, err = fmt.Fscan(r.Body, &n)
	return n, err
}

// startInstances starts instances, of which the first takes the first delay.
func (o *options) startInstances(ctx context.Context, delays ...time.Duration) (all []*instance, kill func(), err error) {
	kill = func() {
		for _, i := range all {
			i.kill()
		}
	}
	for _, d := range delays {
		i, err := o.startInstance(ctx, d)
		if err != nil {
			kill()
			return nil, nil, err
		}
		all = append(all, i)
	}
	return all, kill, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// listens waits until somebody listens on an address.
func listens(ctx context.Context, address string) error {
	for end := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", address)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// outcome is what became of the calls of a load.
type outcome struct {
	mu     sync.Mutex
	calls  int
	failed map[string]int // by code
	took   []time.Duration
}

func (o *outcome) note(r *service.Reply, took time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls++
	if r.Err.Code != "" {
		o.failed[r.Err.Code+": "+r.Err.Reason]++
		return
	}
	o.took = append(o.took, took)
}

func (o *outcome) failures() (n int) {
	for _, each := range o.failed {
		n += each
	}
	return n
}

// percentile returns the duration that a share of the calls did not exceed.
func (o *outcome) percentile(share float64) time.Duration {
	slices.Sort(o.took)
	return o.took[min(len(o.took)-1, int(float64(len(o.took))*share))]
}

// call opens a service and calls it o.Rate times per second for some time, whether or not answers come. meanwhile runs beside.
func (o *options) call(ctx context.Context, c service.Config, d time.Duration, meanwhile func(*service.Service)) (*outcome, error) {
	set, err := service.OpenSet(setting.Named[service.Config]{"s": c}, service.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer set.Close()
	out := &outcome{failed: make(map[string]int)}
	var calling, beside sync.WaitGroup
	beside.Go(func() { meanwhile(set.Get("s")) })
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	begin := time.Now()
	for n := 0; time.Since(begin) < d && ctx.Err() == nil; <-tick.C {
		for due := int(time.Since(begin).Seconds() * float64(o.Rate)); n < due; n++ {
			calling.Add(1)
			at := time.Now()
			set.Begin("s", &service.Call{Device: "m-7", Method: "authorize", Payload: []byte(`{"tag":"0123456789"}`)}, 0, func(r *service.Reply) {
				out.note(r, time.Since(at))
				calling.Done()
			})
		}
	}
	calling.Wait()
	beside.Wait()
	return out, ctx.Err()
}

func of(all []*instance) (s registry.Source) {
	for _, i := range all {
		s.Instances = append(s.Instances, i.url)
	}
	return s
}

// slow compares the choices when one instance of four takes ten times longer.
func (o *options) slow(ctx context.Context) error {
	const quick = 5 * time.Millisecond
	all, kill, err := o.startInstances(ctx, 10*quick, quick, quick, quick)
	if err != nil {
		return err
	}
	defer kill()
	var byTurn time.Duration
	for _, choose := range []string{service.RoundRobin, service.Random, service.Least, service.ResponseTime} {
		var ofSlow, ofAll uint64
		out, err := o.call(ctx, service.Config{Source: of(all), Choose: choose}, o.Duration, func(s *service.Service) {
			time.Sleep(o.Duration - 100*time.Millisecond)
			for _, i := range s.Info().Instances {
				if ofAll += i.Calls; i.URL == all[0].url {
					ofSlow = i.Calls
				}
			}
		})
		if err != nil {
			return err
		}
		p99 := out.percentile(0.99)
		show(fmt.Sprintf("one of four instances takes 50 ms, three 5 ms, %d calls/s, %s: p99", o.Rate, choose), p99.Seconds()*1e3, "ms", noBar)
		show("    calls of the slow instance", 100*float64(ofSlow)/float64(ofAll), "%", noBar)
		switch choose {
		case service.RoundRobin:
			byTurn = p99
		case service.ResponseTime:
			show("    of that of round_robin", p99.Seconds()/byTurn.Seconds(), "", shareOfRound)
		}
		show("    calls that failed", float64(out.failures()), "", 0)
	}
	return nil
}

// death kills an instance of four.
func (o *options) death(ctx context.Context) error {
	for _, idempotent := range []bool{false, true} {
		const takes = 5 * time.Millisecond
		all, kill, err := o.startInstances(ctx, takes, takes, takes, takes)
		if err != nil {
			return err
		}
		c := service.Config{Source: of(all)}
		what := "an instance of four dies (-9)"
		if idempotent {
			c.Idempotent = []string{"*"}
			what += ", idempotent calls"
		}
		cut := 0
		var failed error
		out, err := o.call(ctx, c, o.Duration, func(*service.Service) {
			time.Sleep(o.Duration / 2)
			cut, failed = all[0].connections()
			all[0].kill()
		})
		kill()
		if err = errors.Join(err, failed); err != nil {
			return err
		}
		bar := float64(cut)
		if idempotent {
			bar = 0
		}
		show(fmt.Sprintf("%s, %d calls/s: calls that failed of %d", what, o.Rate, out.calls), float64(out.failures()), "", bar)
		show("    connections that were cut", float64(cut), "", noBar)
		for reason, n := range out.failed {
			fmt.Printf("    %d %s\n", n, reason)
		}
	}
	return nil
}

// consul speaks as much of Consul's HTTP API as a discovery needs. It can be away: then it answers nothing.
type consul struct {
	set  string // its one answer
	away atomic.Bool
}

func (c *consul) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c.away.Load() {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close()
		}
		return
	}
	if r.URL.Query().Get("index") != "" { // a question that waits for a change
		select {
		case <-time.After(time.Second):
		case <-r.Context().Done():
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Consul-Index", "7")
	_, _ = w.Write([]byte(c.set))
}

// registry lets the registry be away for a while.
func (o *options) registry(ctx context.Context) error {
	const takes = 5 * time.Millisecond
	all, kill, err := o.startInstances(ctx, takes, takes)
	if err != nil {
		return err
	}
	defer kill()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	c := new(consul)
	for _, i := range all {
		host, port, _ := net.SplitHostPort(i.url[len("http://"):]) // as freeAddress made it
		c.set += fmt.Sprintf(`,{"Node":{"Address":%q},"Service":{"ID":%q,"Address":%q,"Port":%s,"Weights":{"Passing":1}}}`, host, port, host, port)
	}
	c.set = "[" + c.set[1:] + "]"
	server := &http.Server{Handler: c}
	go func() { _ = server.Serve(l) }() // until Close
	defer server.Close()
	config := service.Config{Source: registry.Source{Consul: registry.Consul{Address: "http://" + l.Addr().String(), Service: "s"}}}
	noticed := false
	out, err := o.call(ctx, config, o.Away+5*time.Second, func(s *service.Service) {
		time.Sleep(2 * time.Second)
		c.away.Store(true)
		time.Sleep(o.Away)
		noticed = s.Info().Problem != ""
		c.away.Store(false)
	})
	if err != nil {
		return err
	}
	if !noticed {
		return fmt.Errorf("the service has not noticed that the registry is away")
	}
	show(fmt.Sprintf("the registry is away for %v, %d calls/s: calls that failed of %d", o.Away, o.Rate, out.calls), float64(out.failures()), "", 0)
	for reason, n := range out.failed {
		fmt.Printf("    %d %s\n", n, reason)
	}
	return nil
}
