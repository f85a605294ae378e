package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// pauseTime is longer than an impatient gateway waits for a device.
const pauseTime = 4 * time.Second

// pause stops the gateway for longer than devices may be silent, as happens when its machine is moved.
func pause(_ context.Context, r *round) error {
	p := r.gateway.process
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	time.Sleep(pauseTime) // the attack itself
	return p.signal(syscall.SIGCONT)
}

// fewDescriptors starts gateways of the default size that may open few files. Each must say at once what to do and end,
// or run as any other.
func fewDescriptors(ctx context.Context, r *round) error {
	for _, n := range []int{64, 256, 400} {
		few := *usual
		few.descriptors = n
		if err := r.withDescriptors(ctx, &few); err != nil {
			return fmt.Errorf("with %d descriptors: %w", n, err)
		}
	}
	return nil
}

// startTime is the time within which a gateway must run, or have ended.
const startTime = 5 * time.Second

// Bounds of a gateway without devices.
const (
	maxThreads = 300
	maxIdle    = 128 << 20 // bytes
)

func (r *round) withDescriptors(ctx context.Context, few *setting) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	g, err := startGateway(ctx, r.options, few)
	switch {
	case err != nil && ctx.Err() == nil && strings.Contains(err.Error(), "ulimit"):
		return nil
	case err != nil:
		return err
	}
	defer g.stop()
	threads, err := g.process.status("Threads:")
	if err != nil {
		return err
	}
	if bytes, err := g.process.resident(); err != nil || threads > maxThreads || bytes > maxIdle {
		return errors.Join(fmt.Errorf("%d threads, %d MiB", threads, bytes>>20), err)
	}
	return g.process.terminated()
}

// terminated ends a gateway by SIGTERM.
func (p *process) terminated() error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.command.Wait()
}

// signals sends signals that must not end a gateway: SIGHUP, and SIGPIPE when nobody reads its log any more.
func signals(ctx context.Context, r *round) error {
	if err := r.gateway.process.signal(syscall.SIGHUP); err != nil {
		return err
	}
	g, err := startGateway(ctx, r.options, usual)
	if err != nil {
		return err
	}
	defer g.stop()
	if err := g.process.log.Close(); err != nil {
		return err
	}
	if err := g.process.terminated(); err != nil {
		return fmt.Errorf("SIGTERM when nobody reads the log: %w", err)
	}
	return nil
}

// auditFull makes requests of an operator while the audit log cannot be written.
func auditFull(ctx context.Context, r *round) error {
	full := *usual
	full.audit = "/dev/full"
	g, err := startGateway(ctx, r.options, &full)
	if err != nil {
		return err
	}
	defer g.stop()
	_, err = g.targets.backend().Disconnect(ctx, connect.NewRequest(&longlinev1.DisconnectRequest{Device: "nobody"}))
	if connect.CodeOf(err) != connect.CodeNotFound {
		return err
	}
	now, err := g.metrics(ctx)
	if err == nil && now["longline_audit_failures_total"] == 0 {
		err = errors.New("no metric shows that the audit log cannot be written")
	}
	return err
}
