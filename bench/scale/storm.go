package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/longline/longline/internal/fleet"
)

// stormSeconds is the bar for 100,000 devices.
const stormSeconds = 15

// storm kills the gateway, starts it again, and waits until every device is back.
func (r *run) storm(ctx context.Context, p phase) error {
	dropped, err := overflows()
	if err != nil {
		return err
	}
	r.fleet.ForgetLatency()
	before, reasons := r.fleet.Snapshot(), r.fleet.Report().Reasons
	killed := time.Now()
	r.gateway.kill()
	restart := time.Now()
	if r.gateway, err = startGateway(ctx, r.options); err != nil {
		return err
	}
	ready := time.Now()
	cpu, err := r.cpu()
	if err != nil {
		return err
	}
	profiled := r.profiling(ctx, "storm")
	defer profiled()
	marks, err := r.back(ctx, before.Reconnects)
	if err != nil {
		return err
	}
	after, err := r.cpu()
	if err != nil {
		return err
	}
	last := r.fleet.Snapshot().LastHello
	if err := r.subscribed(ctx); err != nil {
		return err
	}
	p.add("kill to the end of the process", restart.Sub(killed).Seconds(), "s")
	p.add("restart to ready", ready.Sub(restart).Seconds(), "s")
	for i, at := range marks {
		p.add("restart to "+shares[i].name+" back", at.Sub(restart).Seconds(), "s")
	}
	p.bar("restart to the last one back", last.Sub(restart).Seconds(), "s", stormSeconds*float64(r.Devices)/100_000)
	p.add("the last one subscribed", time.Since(restart).Seconds(), "s")
	report := r.fleet.Report()
	p.add("dial to hello, p50", report.ConnectLatency.P50, "ms")
	p.add("dial to hello, p99", report.ConnectLatency.P99, "ms")
	p.add("dial to hello, max", report.ConnectLatency.Max, "ms")
	p.add("gateway CPU meanwhile", after.gateway.Seconds(), "s")
	p.add("fleet CPU meanwhile", (after.fleet - cpu.fleet).Seconds(), "s")
	return r.refusals(ctx, p, &before, reasons, dropped)
}

// shares are the parts of the devices whose return is reported.
var shares = []struct {
	name string
	of   float64
}{{"half", 0.5}, {"9 of 10", 0.9}, {"99 of 100", 0.99}}

// back waits until every device has reconnected, and reports when each share had.
func (r *run) back(ctx context.Context, before uint64) (marks []time.Time, err error) {
	err = r.await(ctx, func(s *fleet.Snapshot) bool {
		n := int(s.Reconnects - before)
		for len(marks) < len(shares) && float64(n) >= shares[len(marks)].of*float64(r.Devices) {
			marks = append(marks, time.Now())
		}
		return n >= r.Devices && s.Connected == r.Devices
	})
	return marks, err
}

// refusals reports why devices were refused.
func (r *run) refusals(ctx context.Context, p phase, before *fleet.Snapshot, reasons map[string]uint64, dropped float64) error {
	m, err := r.gateway.admin.Metrics(ctx)
	if err != nil {
		return err
	}
	now, err := overflows()
	if err != nil {
		return err
	}
	p.add("dials a device", float64(r.fleet.Snapshot().Dials-before.Dials)/float64(r.Devices), "1")
	after := r.fleet.Report().Reasons
	for _, reason := range slices.Sorted(maps.Keys(after)) {
		if d := after[reason] - reasons[reason]; d > 0 {
			p.add(strings.TrimPrefix(reason, "connect: "), float64(d), "")
		}
	}
	p.add("refused by the gateway", m.Sum(`longline_handshakes_total{outcome="refused`), "")
	p.add("handshakes that did not complete", m.Sum(`longline_handshakes_total{outcome="incomplete`), "")
	p.add("connections dropped by the kernel, full backlog", now-dropped, "")
	return nil
}
