package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/internal/fleet"
)

// run is one run: a gateway, and a fleet that outlives it.
type run struct {
	*options
	table   table
	gateway *gateway
	fleet   *fleet.Fleet
	empty   uint64 // memory of the gateway without devices, in bytes
	before  kernel // memory of the kernel without devices
	rounds  uint32 // broadcasts so far
}

func newRun(o *options) *run { return &run{options: o, table: newTable(o)} }

// stop ends the gateway. The fleet ends with this process.
func (r *run) stop() {
	if r.gateway != nil {
		r.gateway.kill()
	}
}

// step is a phase that may be skipped.
type step struct {
	name   string
	do     func(context.Context, phase) error
	wanted bool
}

// run runs the phases.
func (r *run) run(ctx context.Context) error {
	phases := []step{
		{"connect", r.connect, true},
		{"memory", r.memory, true},
		{"idle", r.idle, r.Keep > 0},
		{"broadcast", r.broadcasts, true},
		{"call", r.calls, r.Calls > 0},
		{"uplink", r.uplink, r.Uplink > 0},
		{"storm", r.storm, r.Storm},
	}
	for _, s := range phases {
		if !s.wanted {
			continue
		}
		if err := s.do(ctx, r.table.phase(s.name)); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// connect starts both sides and waits until every device is subscribed.
func (r *run) connect(ctx context.Context, p phase) (err error) {
	if r.gateway, err = startGateway(ctx, r.options); err != nil {
		return err
	}
	if r.empty, err = r.gateway.used(ctx); err != nil {
		return err
	}
	if r.before, err = memoryOfKernel(); err != nil {
		return err
	}
	cpu, err := r.cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	r.fleet, err = fleet.Start(fleet.Config{
		Gateway:     "ws://" + r.Listen + "/connect",
		Subscribe:   []string{"device/{device}/#"},
		Loops:       r.Loops,
		ConnectRate: r.ConnectRate,
		MaxDials:    r.MaxDials,
		Token:       r.Token,
		Reconnect:   fleet.Backoff{MaxTries: -1},
		Synthetic:   fleet.Synthetic{Devices: r.Devices},
	})
	if err != nil {
		return err
	}
	if err := r.await(ctx, func(s *fleet.Snapshot) bool { return s.Connected == r.Devices }); err != nil {
		return err
	}
	elapsed := r.fleet.Snapshot().LastHello.Sub(began)
	if err := r.subscribed(ctx); err != nil {
		return err
	}
	after, err := r.cpu()
	if err != nil {
		return err
	}
	report := r.fleet.Report()
	p.add("time until all are connected", elapsed.Seconds(), "s")
	p.add("connections per second", float64(r.Devices)/elapsed.Seconds(), "1/s")
	p.add("dial to hello, p50", report.ConnectLatency.P50, "ms")
	p.add("dial to hello, p99", report.ConnectLatency.P99, "ms")
	p.add("gateway CPU a connection, subscribed", bench.Micros(after.gateway-cpu.gateway)/float64(r.Devices), "us")
	p.add("fleet CPU a connection", bench.Micros(after.fleet-cpu.fleet)/float64(r.Devices), "us")
	p.add("dials that failed", float64(int(report.Dials)-r.Devices), "")
	return nil
}

// subscribed waits until every device is subscribed.
func (r *run) subscribed(ctx context.Context) error {
	for {
		m, err := r.gateway.admin.Metrics(ctx)
		if err != nil {
			return err
		}
		if int(m["longline_subscriptions"]) == r.Devices && int(m[`longline_sessions{state="online"}`]) == r.Devices {
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("%.0f are online and %.0f subscribed: %w", m[`longline_sessions{state="online"}`], m["longline_subscriptions"], err)
		}
	}
}

const (
	look     = 50 * time.Millisecond
	progress = 5 * time.Second
)

// await polls the fleet until done returns true, and prints its progress from time to time.
func (r *run) await(ctx context.Context, done func(*fleet.Snapshot) bool) error {
	for shown := time.Now(); ; {
		s := r.fleet.Snapshot()
		if done(&s) {
			return nil
		}
		if time.Since(shown) >= progress {
			shown = time.Now()
			fmt.Fprintf(os.Stderr, "  %d connected, %d dials, %d messages, %d pings\n", s.Connected, s.Dials, s.Received, s.Pings)
		}
		if err := pause(ctx, look); err != nil {
			return err
		}
	}
}

// profiling writes a profile of the next seconds, if profiles are wanted. The function that
// it returns waits for the profile.
func (r *run) profiling(ctx context.Context, label string) (wait func()) {
	if r.Profile == 0 {
		return func() {}
	}
	done := make(chan error, 1)
	go func() { done <- r.gateway.profile(ctx, r.options, "profile", label, profileTime) }()
	return func() {
		if err := <-done; err != nil {
			fmt.Fprintf(os.Stderr, "  no profile: %v\n", err)
		}
	}
}

const profileTime = 5 * time.Second // length of profiles of short phases

// accounts are the processor times of both sides.
type accounts struct{ gateway, fleet time.Duration }

func (r *run) cpu() (a accounts, err error) {
	if a.gateway, err = r.gateway.process.CPU(); err != nil {
		return a, err
	}
	a.fleet, err = bench.Process(os.Getpid()).CPU()
	return a, err
}
