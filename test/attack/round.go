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

// round is a gateway with its honest devices, for one attack after the other.
type round struct {
	options *options
	gateway *gateway      // nil before the first
	setting *setting      // of the gateway
	client  *bench.Client // of the honest devices; nil when they have to connect again
	calm    time.Duration // the 99th percentile that was measured last, 0 when none was
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

// outcome is what was measured of an attack.
type outcome struct {
	attack     *attack
	calm, peak uint64        // resident bytes of the gateway
	before, at time.Duration // 99th percentile of the honest devices' acknowledgements
	rises      metrics
	missed     []string // in which respect the gateway did not hold
}

// attack measures calm and attack.
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

// settle brings the honest devices on line, and measures them: at a gateway that has seen no
// attack, or in the short form at that of the attack before, if its setting is the same.
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

const dials = 64 // of honest devices at a time: fewer than wait in vain at the connect rate

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

// under measures while the attack is made, and returns what the gateway has counted since
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

// tryLimit bounds what is tried. It is longer than any of the gateway's limits in an attack.
const tryLimit = time.Minute

// try begins what is tried, and has its error come by the channel, nil when there is nothing to try.
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

// proof returns what the gateway has counted since before, once a metric shows the limit. The
// attack goes on until then, for proofWait at most: where other programs have the processors,
// its time was short.
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
	between   = 100 * time.Millisecond // looks at the metrics
)

// start has another process make the attack. It gets what processor time others leave, as an
// attacker on this machine would otherwise take it from those who are measured.
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

// judge tells what is not as it should be.
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

// bound is how much memory the gateway may have: what the attack leaves to it, and a tenth more than its limit at the most.
func (o *outcome) bound() uint64 {
	limit := uint64(o.attack.setting.memory) << 20
	return min(o.calm+uint64(o.attack.room)<<20, limit+limit/10)
}
