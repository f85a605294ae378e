package main

import (
	"context"
	"fmt"
	"time"

	"github.com/longline/longline/internal/bench"
)

// measures are the lines of the tables, in order.
var measures = []bench.Measure{
	{Key: "idle", Title: "user memory of an idle connection", Unit: "B"},
	{Key: "few", Title: "echo, closed loop, few connections", Unit: "us/message"},
	{Key: "load", Title: "echo, closed loop, many connections", Unit: "us/message"},
	{Key: "paced", Title: "echo, paced", Unit: "us/message"},
	{Key: "broadcast", Title: "broadcast", Unit: "us/delivery"},
	{Key: "handshake", Title: "handshake", Unit: "us"},
	{Key: "tls_idle", Title: "user memory of an idle TLS connection", Unit: "B"},
	{Key: "tls_handshake", Title: "TLS handshake", Unit: "us"},
	{Key: "uplink", Title: "whole gateway, QoS 0 uplink to one API subscriber (floor: echo, paced)", Unit: "us/message"},
	{Key: "paced_p50", Title: "echo, paced: latency p50", Unit: "ms"},
	{Key: "paced_p99", Title: "echo, paced: latency p99", Unit: "ms"},
	{Key: "broadcast_last", Title: "broadcast: until the last has it, p50", Unit: "ms"},
	{Key: "few_rate", Title: "echo, closed loop, few connections: rate", Unit: "messages/s"},
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// measure runs one repetition of one server.
func (o *options) measure(ctx context.Context, s *server, r *bench.Summary) error {
	running, err := s.start(ctx, o.ServerCPU)
	if err != nil {
		return err
	}
	defer running.stop()
	r.Version = running.version
	for _, step := range []func(context.Context, bench.Target, *bench.Summary) error{o.idle, o.closedLoop, o.loaded, o.handshakes} {
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
		paced := r.Measures["paced"].Values
		r.Add("uplink", paced[len(paced)-1])
	case "longline":
		return o.uplink(ctx, r)
	}
	return nil
}

// idle measures memory, then broadcasts to the same connections.
func (o *options) idle(ctx context.Context, t bench.Target, r *bench.Summary) error {
	c, memory, err := o.crowd(ctx, t)
	if err != nil {
		return err
	}
	defer c.Close()
	r.Add("idle", memory)
	result, err := c.Broadcast(ctx, o.Rounds)
	if err != nil {
		return fmt.Errorf("broadcast: %w", err)
	}
	r.Add("broadcast", bench.Micros(result.Cost()))
	r.Add("broadcast_last", millis(result.Percentile(50)))
	return nil
}

// crowd opens the many connections, and returns the bytes of user memory that the server needs
// per connection. With TLS it first sends a message over each, so that no part of the handshake is
// outstanding.
func (o *options) crowd(ctx context.Context, t bench.Target) (c *bench.Client, memory float64, err error) {
	empty, err := t.Process.FreeMemory(ctx)
	if err != nil {
		return nil, 0, err
	}
	if c, err = bench.Connect(ctx, t, o.Many); err != nil {
		return nil, 0, err
	}
	if t.TLS != nil {
		_, err = c.Broadcast(ctx, 1)
	}
	var full uint64
	if err == nil {
		full, err = t.Process.FreeMemory(ctx)
	}
	if err != nil {
		c.Close()
		return nil, 0, err
	}
	return c, (float64(full) - float64(empty)) / float64(o.Many), nil
}

func (o *options) closedLoop(ctx context.Context, t bench.Target, r *bench.Summary) error {
	c, err := bench.Connect(ctx, t, o.Few)
	if err != nil {
		return err
	}
	defer c.Close()
	result, err := c.Echo(ctx, o.load())
	if err != nil {
		return fmt.Errorf("echo on %d connections: %w", o.Few, err)
	}
	r.Add("few", bench.Micros(result.Cost()))
	r.Add("few_rate", result.Rate())
	return nil
}

func (o *options) loaded(ctx context.Context, t bench.Target, r *bench.Summary) error {
	c, err := bench.Connect(ctx, t, o.Load)
	if err != nil {
		return err
	}
	defer c.Close()
	result, err := c.Echo(ctx, o.load())
	if err != nil {
		return fmt.Errorf("echo on %d connections: %w", o.Load, err)
	}
	r.Add("load", bench.Micros(result.Cost()))
	if result, err = c.Paced(ctx, o.load()); err != nil {
		return fmt.Errorf("paced echo: %w", err)
	}
	r.Add("paced", bench.Micros(result.Cost()))
	r.Add("paced_p50", millis(result.Percentile(50)))
	r.Add("paced_p99", millis(result.Percentile(99)))
	return nil
}

func (o *options) handshakes(ctx context.Context, t bench.Target, r *bench.Summary) error {
	result, err := bench.Handshakes(ctx, t, o.Handshake)
	if err != nil {
		return fmt.Errorf("handshakes: %w", err)
	}
	r.Add("handshake", bench.Micros(result.Cost()))
	return nil
}

func (o *options) load() bench.Load {
	return bench.Load{Size: o.Size, Warmup: o.Warmup, Duration: o.Duration, Rate: o.Rate}
}
