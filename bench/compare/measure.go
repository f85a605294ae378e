package main

import (
	"context"
	"fmt"
	"time"

	"github.com/longline/longline/internal/bench"
)

// measures are the columns of the table, in order.
var measures = []struct{ key, title, unit string }{
	{"idle", "user memory of an idle connection", "B"},
	{"few", "echo, closed loop, few connections", "us/message"},
	{"load", "echo, closed loop, many connections", "us/message"},
	{"paced", "echo, paced", "us/message"},
	{"broadcast", "broadcast", "us/delivery"},
	{"handshake", "handshake", "us"},
	{"tls_idle", "user memory of an idle TLS connection", "B"},
	{"tls_handshake", "TLS handshake", "us"},
	{"uplink", "whole gateway, QoS 0 uplink to one API subscriber (floor: echo, paced)", "us/message"},
	{"paced_p50", "echo, paced: latency p50", "ms"},
	{"paced_p99", "echo, paced: latency p99", "ms"},
	{"broadcast_last", "broadcast: until the last has it, p50", "ms"},
	{"few_rate", "echo, closed loop, few connections: rate", "messages/s"},
}

// row is what was measured of one server, by key, one value a repetition.
type row struct {
	name    string
	version string
	values  map[string][]float64
}

func (r *row) add(key string, v float64) { r.values[key] = append(r.values[key], v) }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// measure runs one repetition of one server.
func (o *options) measure(ctx context.Context, s *server, r *row) error {
	running, err := s.start(ctx, o.ServerCPU)
	if err != nil {
		return err
	}
	defer running.stop()
	r.version = running.version
	for _, step := range []func(context.Context, bench.Target, *row) error{o.idle, o.closedLoop, o.loaded, o.handshakes} {
		if err := step(ctx, running.target, r); err != nil {
			return err
		}
		if err := running.target.Process.Rest(ctx); err != nil {
			return err
		}
	}
	running.stop()
	if s.secure != nil {
		if err := o.secured(ctx, s, r); err != nil {
			return err
		}
	}
	switch s.name {
	case "floor":
		r.add("uplink", r.values["paced"][len(r.values["paced"])-1])
	case "longline":
		return o.uplink(ctx, r)
	}
	return nil
}

// idle measures memory, then broadcasts to the same connections.
func (o *options) idle(ctx context.Context, t bench.Target, r *row) error {
	empty, err := t.Process.FreeMemory(ctx)
	if err != nil {
		return err
	}
	c, err := bench.Connect(ctx, t, o.Many)
	if err != nil {
		return err
	}
	defer c.Close()
	full, err := t.Process.FreeMemory(ctx)
	if err != nil {
		return err
	}
	r.add("idle", (float64(full)-float64(empty))/float64(o.Many))
	result, err := c.Broadcast(ctx, o.Rounds)
	if err != nil {
		return fmt.Errorf("broadcast: %w", err)
	}
	r.add("broadcast", bench.Micros(result.Cost()))
	r.add("broadcast_last", millis(result.Percentile(50)))
	return nil
}

func (o *options) closedLoop(ctx context.Context, t bench.Target, r *row) error {
	c, err := bench.Connect(ctx, t, o.Few)
	if err != nil {
		return err
	}
	defer c.Close()
	result, err := c.Echo(ctx, o.load())
	if err != nil {
		return fmt.Errorf("echo on %d connections: %w", o.Few, err)
	}
	r.add("few", bench.Micros(result.Cost()))
	r.add("few_rate", result.Rate())
	return nil
}

func (o *options) loaded(ctx context.Context, t bench.Target, r *row) error {
	c, err := bench.Connect(ctx, t, o.Load)
	if err != nil {
		return err
	}
	defer c.Close()
	result, err := c.Echo(ctx, o.load())
	if err != nil {
		return fmt.Errorf("echo on %d connections: %w", o.Load, err)
	}
	r.add("load", bench.Micros(result.Cost()))
	if result, err = c.Paced(ctx, o.load()); err != nil {
		return fmt.Errorf("paced echo: %w", err)
	}
	r.add("paced", bench.Micros(result.Cost()))
	r.add("paced_p50", millis(result.Percentile(50)))
	r.add("paced_p99", millis(result.Percentile(99)))
	return nil
}

func (o *options) handshakes(ctx context.Context, t bench.Target, r *row) error {
	result, err := bench.Handshakes(ctx, t, o.Handshake)
	if err != nil {
		return fmt.Errorf("handshakes: %w", err)
	}
	r.add("handshake", bench.Micros(result.Cost()))
	return nil
}

func (o *options) load() bench.Load {
	return bench.Load{Size: o.Size, Warmup: o.Warmup, Duration: o.Duration, Rate: o.Rate}
}
