package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/longline/longline/internal/bench"
)

// round is a gateway with its honest devices, for one attack after another.
type round struct {
	options *options
	gateway *gateway      // nil before the first attack
	setting *setting      // of the gateway
	client  *bench.Client // the honest devices; nil if they have to connect again
	calm    time.Duration // the 99th percentile that was measured last, or 0
}

func (r *round) close() {
	r.disconnect()
	if r.gateway != nil {
		r.gateway.stop()
		r.gateway = nil
	}
}

func (r *round) disconnect() {
	if r.client != nil {
		r.client.Close()
		r.client = nil
	}
}

// outcome is the measurements of an attack.
type outcome struct {
	attack     *attack
	calm, peak uint64        // resident bytes of the gateway
	before, at time.Duration // 99th percentile of the honest devices' acknowledgements
	rises      metrics
	missed     []string // what did not hold
}

// attack measures the calm before an attack and the attack.
func (r *round) attack(ctx context.Context, a *attack) (o outcome, err error) {
	o = outcome{attack: a}
	if err := r.settle(ctx, a.setting); err != nil {
		return o, err
	}
	o.before = r.calm
	if o.calm, err = r.gateway.process.resident(); err != nil {
		return o, err
	}
	before, err := r.gateway.metrics(ctx)
	if err != nil {
		return o, err
	}
	if o.rises, err = r.under(ctx, a, before, &o); err != nil {
		return o, err
	}
	o.judge(r.options)
	return o, nil
}

// settle connects the honest devices and measures the calm. It starts a new gateway for each
// attack; in the short form it uses the last one if the setting is the same.
func (r *round) settle(ctx context.Context, s *setting) (err error) {
	if !r.options.Quick || r.setting != s {
		r.close()
	}
	if r.gateway == nil {
		if r.gateway, err = startGateway(ctx, r.options, s); err != nil {
			return err
		}
		r.setting = s
	}
	if r.client == nil {
		if err := r.connect(ctx); err != nil {
			return fmt.Errorf("honest devices: %w", err)
		}
	}
	if r.options.Quick && r.calm > 0 {
		return nil
	}
	result, err := r.measure(ctx, r.options.Calm)
	if err != nil {
		return fmt.Errorf("honest devices in calm: %w", err)
	}
	r.calm = result.Percentile(99)
	return nil
}

const dials = 64 // honest devices that connect at a time; few enough not to time out at the connect rate

func (r *round) connect(ctx context.Context) error {
	c, err := bench.Start(r.gateway.target(), r.options.Devices, dials)
	if err != nil {
		return err
	}
	r.client, r.calm = c, 0
	_, err = c.Opened(ctx)
	return err
}

func (r *round) measure(ctx context.Context, d time.Duration) (bench.Result, error) {
	return r.client.Uplink(ctx, bench.Load{Duration: d, Rate: r.options.Rate})
}

// under makes the attack and measures meanwhile. It returns what the gateway has counted since
// before.
func (r *round) under(ctx context.Context, a *attack, before metrics, o *outcome) (metrics, error) {
	if err := r.gateway.process.resetPeak(); err != nil {
		return nil, err
	}
	if a.one != nil {
		stop, err := r.start(ctx, a)
		if err != nil {
			return nil, err
		}
		defer stop()
	}
	tried := r.try(ctx, a)
	result, lost := r.measure(ctx, r.options.Duration)
	if wrong := <-tried; wrong != nil {
		o.missed = append(o.missed, wrong.Error())
	}
	if a.after && lost == nil {
		result, lost = r.measure(ctx, r.options.Duration)
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case lost != nil:
		o.missed = append(o.missed, "an honest device: "+lost.Error())
		r.disconnect()
	default:
		o.at = result.Percentile(99)
	}
	rises, err := r.proof(ctx, a, before)
	if err != nil {
		return nil, fmt.Errorf("metrics during the attack: %w", err)
	}
	o.peak, err = r.gateway.process.peak()
	return rises, err
}

// tryLimit bounds the time of a trial. It is longer than every time limit of the gateway in an attack.
const tryLimit = time.Minute

// try starts the attack's trial, whose error the channel gets. It is nil if the attack has no trial.
func (r *round) try(ctx context.Context, a *attack) <-chan error {
	tried := make(chan error, 1)
	if a.try == nil {
		tried <- nil
		return tried
	}
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	go func() {
		defer cancel()
		tried <- a.try(ctx, r)
	}()
	return tried
}

// proof waits until a metric shows the limit, and returns what the gateway has counted since before. The
// attack goes on until then, for proofWait at most, because on a busy machine
// its time may have been too short.
func (r *round) proof(ctx context.Context, a *attack, before metrics) (rises metrics, err error) {
	for end := time.Now().Add(proofWait); ; time.Sleep(between) {
		now, err := r.gateway.metrics(ctx)
		if err != nil {
			return nil, err
		}
		if rises = now.above(before); a.shown(rises) || time.Now().After(end) {
			return rises, nil
		}
	}
}

const (
	proofWait = 10 * time.Second
	between   = 100 * time.Millisecond // between two reads of the metrics
)

// start starts another process that makes the attack. It has the lowest priority, because an
// attacker on this machine would otherwise take processor time from the gateway and the honest devices.
func (r *round) start(ctx context.Context, a *attack) (stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	t := r.gateway.targets
	c := exec.CommandContext(ctx, "nice", "-n", "10", self, "make", a.name, "--devices="+t.Devices, "--mqtt="+t.MQTT, "--admin="+t.Admin,
		"--token="+t.Token, "--backend="+t.Backend, "--limit="+(r.options.Duration+time.Minute).String())
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return nil, err
	}
	return func() {
		_ = c.Process.Kill()
		_ = c.Wait() // it was killed
	}, nil
}

// judge notes in which respects the gateway did not hold.
func (o *outcome) judge(opts *options) {
	miss := func(format string, args ...any) { o.missed = append(o.missed, fmt.Sprintf(format, args...)) }
	if bar := slower * max(o.before, opts.Floor); o.at > bar {
		miss("latency above %v", bar.Round(time.Millisecond))
	}
	if o.peak > o.bound() {
		miss("memory above %d MiB", o.bound()>>20)
	}
	if !o.attack.shown(o.rises) {
		miss("no metric shows it: %s", strings.Join(o.attack.proof, ", "))
	}
}

// bound returns how much memory the gateway may have: what it had in calm and the attack's room, but at most its limit and a tenth.
func (o *outcome) bound() uint64 {
	limit := uint64(o.attack.setting.memory) << 20
	return min(o.calm+uint64(o.attack.room)<<20, limit+limit/10)
}
