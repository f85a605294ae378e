package main

import (
	"context"
	"fmt"
	"time"

	"github.com/longline/longline/internal/bench"
)

// The bars: user memory per device and of a million devices, and the share of a processor that
// 100,000 idle devices take.
const (
	deviceBytes = 768
	storeBytes  = 850 // instead, with a store on disk
	allBytes    = 1e9
	restPercent = 4
)

// memory adds the memory of the idle devices to the table.
func (r *run) memory(ctx context.Context, p phase) error {
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	asIs, err := r.gateway.process.Memory()
	if err != nil {
		return err
	}
	used, err := r.gateway.used(ctx)
	if err != nil {
		return err
	}
	k, err := memoryOfKernel()
	if err != nil {
		return err
	}
	each := func(after, before float64) float64 { return (after - before) / float64(r.Devices) }
	p.add("gateway without devices", float64(r.empty)/1e6, "MB")
	p.bar("gateway", float64(asIs)/1e6, "MB", allBytes/1e6)
	p.add("gateway, free memory returned", float64(used)/1e6, "MB")
	p.add("user memory of a device", each(float64(asIs), float64(r.empty)), "B")
	p.bar("user memory of a device, free memory returned", each(float64(used), float64(r.empty)), "B", r.deviceBar())
	p.add("kernel, both ends of a connection: slab", each(k.slab, r.before.slab), "B")
	p.add("kernel: page tables", each(k.tables, r.before.tables), "B")
	p.add("kernel: vmalloc, descriptor tables", each(k.vmalloc, r.before.vmalloc), "B")
	p.add("kernel: buffers of TCP", each(k.tcp, r.before.tcp), "B")
	p.add("whole machine, both processes", each(r.before.available, k.available), "B")
	p.add("memory still available", k.available/1e9, "GB")
	return nil
}

// deviceBar is the bar of a device's memory.
func (r *run) deviceBar() float64 {
	if r.Store {
		return storeBytes
	}
	return deviceBytes
}

// idle measures the CPU time of devices that only have heartbeats.
func (r *run) idle(ctx context.Context, p phase) error {
	cpu, err := r.cpu()
	if err != nil {
		return err
	}
	before, begin := r.fleet.Snapshot(), time.Now()
	if err := pause(ctx, r.Keep); err != nil {
		return err
	}
	after, err := r.cpu()
	if err != nil {
		return err
	}
	now, elapsed := r.fleet.Snapshot(), time.Since(begin)
	pings := now.Pings - before.Pings
	share := func(d time.Duration) float64 { return 100 * d.Seconds() / elapsed.Seconds() }
	p.add("kept", elapsed.Seconds(), "s")
	p.add("heartbeats answered", float64(pings), "")
	p.bar("gateway CPU", share(after.gateway-cpu.gateway), "% of one", r.restBar())
	p.add("gateway CPU a heartbeat", bench.Micros(after.gateway-cpu.gateway)/float64(max(1, pings)), "us")
	p.add("fleet CPU", share(after.fleet-cpu.fleet), "% of one")
	p.add("connections lost", float64(now.Dials-before.Dials)+float64(r.Devices-now.Connected), "")
	if now.Dials != before.Dials || now.Connected != r.Devices {
		return fmt.Errorf("connections were lost: %v", r.fleet.Report().Reasons)
	}
	if r.Profile == 0 {
		return nil
	}
	if err := r.gateway.profile(ctx, r.options, "heap", "heap", 0); err != nil {
		return err
	}
	return r.gateway.profile(ctx, r.options, "profile", "idle", r.Profile)
}

// restBar returns restPercent, scaled to the number of devices and their heartbeat.
func (r *run) restBar() float64 {
	return restPercent * float64(r.Devices) / 100_000 * 30 / r.Beat.Seconds()
}
