package main

import (
	"context"
	"fmt"

	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/internal/message"
)

// row has the results of one repetition of one server.
type row struct {
	*bench.Summary
	dropped uint64 // messages that never arrived
}

// rate adds the rate of a closed loop, and how busy the server was. If the server did not use its whole
// processor, the client was the slower side.
func (r *row) rate(key string, result *bench.Result) {
	r.Add(key, result.Rate())
	r.Add(key+"_busy", busy(result))
}

// busy returns the server's CPU time in percent of a processor.
func busy(r *bench.Result) float64 { return 100 * r.CPU.Seconds() / r.Elapsed.Seconds() }

// measure runs one repetition of one server. It measures idle clients first, because a server without
// a garbage collector does not return memory to the system.
func (o *options) measure(ctx context.Context, s *server, all *bench.Summary) error {
	started, err := s.start(ctx, o.ServerCPU)
	if err != nil {
		return err
	}
	defer started.stop()
	all.Version = started.version
	r := &row{Summary: all}
	for _, step := range []func(context.Context, *running, *row) error{
		o.idle, o.connect, o.fanout, o.paced, o.inFlight, o.acknowledged, o.lag, o.command(message.AtMostOnce), o.command(message.AtLeastOnce),
	} {
		if err := step(ctx, started, r); err != nil {
			return err
		}
		if err := started.process().Rest(ctx); err != nil {
			return err
		}
	}
	r.Add("dropped", float64(r.dropped))
	return nil
}

// clients connects n clients that subscribe as m says, and returns the CPU time per client in microseconds.
func (o *options) clients(ctx context.Context, s *running, n int, m bench.MQTT) (*bench.Client, float64, error) {
	before, err := s.process().CPU()
	if err != nil {
		return nil, 0, err
	}
	c, err := bench.Connect(ctx, bench.Target{Addr: s.addr, Process: s.process(), Devices: "bench-", MQTT: &m}, n)
	if err != nil {
		return nil, 0, fmt.Errorf("connect %d clients: %w", n, err)
	}
	after, err := s.process().CPU()
	if err != nil {
		c.Close()
		return nil, 0, err
	}
	return c, bench.Micros(after-before) / float64(n), nil
}

// idle measures the cost of clients that have one subscription each and only ping.
func (o *options) idle(ctx context.Context, s *running, r *row) error {
	empty, err := s.memory(ctx)
	if err != nil {
		return err
	}
	c, cost, err := o.clients(ctx, s, o.Many, bench.MQTT{Filter: bench.FilterCommands})
	if err != nil {
		return err
	}
	defer c.Close()
	full, err := s.memory(ctx)
	if err != nil {
		return err
	}
	load := o.load()
	load.Rate = o.Pings
	result, err := c.MQTTPings(ctx, load)
	if err != nil {
		return fmt.Errorf("idle: %w", err)
	}
	r.Add("idle", (float64(full)-float64(empty))/float64(o.Many))
	r.Add("subscribe", cost)
	r.Add("pings", busy(&result))
	return nil
}

// connect measures clients without a subscription.
func (o *options) connect(ctx context.Context, s *running, r *row) error {
	c, cost, err := o.clients(ctx, s, o.Many, bench.MQTT{})
	if err != nil {
		return err
	}
	defer c.Close()
	r.Add("connect", cost)
	return nil
}

func (o *options) fanout(ctx context.Context, s *running, r *row) error {
	c, _, err := o.clients(ctx, s, o.Many, bench.MQTT{Filter: bench.FilterAll})
	if err != nil {
		return err
	}
	defer c.Close()
	result, err := c.MQTTFanout(ctx, o.Rounds)
	if err != nil {
		return fmt.Errorf("fan-out: %w", err)
	}
	r.Add("fanout", bench.Micros(result.Cost()))
	return nil
}

// few connects the devices and their counterpart, client 0, for a load.
func (o *options) few(ctx context.Context, s *running, filter func(int) string, qos message.QoS) (*bench.Client, error) {
	c, _, err := o.clients(ctx, s, o.Few+1, bench.MQTT{Filter: filter, QoS: qos})
	return c, err
}

func (o *options) paced(ctx context.Context, s *running, r *row) error {
	c, err := o.few(ctx, s, bench.FilterTelemetry, message.AtMostOnce)
	if err != nil {
		return err
	}
	defer c.Close()
	load := o.lossy()
	load.Rate = o.Rate
	result, err := c.MQTTUplink(ctx, load)
	if err != nil {
		return fmt.Errorf("uplink at a fixed rate: %w", err)
	}
	r.Add("paced", bench.Micros(result.Cost()))
	r.dropped += result.Lost
	return nil
}

func (o *options) inFlight(ctx context.Context, s *running, r *row) error {
	c, err := o.few(ctx, s, bench.FilterTelemetry, message.AtMostOnce)
	if err != nil {
		return err
	}
	defer c.Close()
	result, err := c.MQTTUplink(ctx, o.lossy())
	if err != nil {
		return fmt.Errorf("uplink, QoS 0: %w", err)
	}
	r.rate("qos0", &result)
	r.dropped += result.Lost
	return nil
}

func (o *options) acknowledged(ctx context.Context, s *running, r *row) error {
	c, err := o.few(ctx, s, bench.FilterTelemetry, message.AtLeastOnce)
	if err != nil {
		return err
	}
	defer c.Close()
	result, err := c.MQTTAcknowledged(ctx, o.load())
	if err != nil {
		return fmt.Errorf("uplink, QoS 1: %w", err)
	}
	r.rate("qos1", &result)
	return nil
}

func (o *options) lag(ctx context.Context, s *running, r *row) error {
	c, err := o.few(ctx, s, bench.FilterTelemetry, message.AtLeastOnce)
	if err != nil {
		return err
	}
	defer c.Close()
	load := o.load()
	load.Duration = o.Lag
	result, err := c.MQTTLag(ctx, load)
	if err != nil {
		return fmt.Errorf("a subscriber that lags: %w", err)
	}
	r.Add("lag", 100*float64(result.Lost)/float64(result.Messages))
	return nil
}

func (o *options) command(qos message.QoS) func(context.Context, *running, *row) error {
	return func(ctx context.Context, s *running, r *row) error {
		c, err := o.few(ctx, s, bench.FilterCommands, qos)
		if err != nil {
			return err
		}
		defer c.Close()
		result, err := c.MQTTCommand(ctx, o.lossy(), qos)
		if err != nil {
			return fmt.Errorf("commands, QoS %d: %w", qos, err)
		}
		r.rate(fmt.Sprintf("command%d", qos), &result)
		r.dropped += result.Lost
		return nil
	}
}

func (o *options) load() bench.Load {
	return bench.Load{Size: o.Size, Warmup: o.Warmup, Duration: o.Duration}
}

// lossy returns a load in which brokers may drop messages. The figures count the messages that arrived.
func (o *options) lossy() bench.Load {
	l := o.load()
	l.Lossy = true
	return l
}
