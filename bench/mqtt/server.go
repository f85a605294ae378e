package main

import (
	"context"
	"net/netip"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/longline/longline/internal/bench"
)

// server is a server under comparison.
type server struct {
	name  string
	start func(ctx context.Context, cpu int) (*running, error)
}

// Name implements bench.Named.
func (s server) Name() string { return s.name }

// servers returns all servers, or those that the options name.
func (o *options) servers() ([]server, error) {
	all := []server{{"mosquitto", startMosquitto}, {"mochi", o.startMochi}, {"longline", o.startLongline}}
	return bench.Chosen(all, o.Only)
}

// running is a server's process.
type running struct {
	addr    netip.AddrPort
	version string
	command *exec.Cmd
	// collects says that the process returns free memory to the system at SIGUSR1.
	collects bool
}

// process returns the server's process.
func (r *running) process() bench.Process { return bench.Process(r.command.Process.Pid) }

// memory returns how much memory the process has when it is idle.
func (r *running) memory(ctx context.Context) (uint64, error) {
	if r.collects {
		return r.process().FreeMemory(ctx)
	}
	if err := r.process().Rest(ctx); err != nil {
		return 0, err
	}
	return r.process().Memory()
}

// stop ends the process and waits for it.
func (r *running) stop() { bench.Stop(r.command) }

func (o *options) startLongline(ctx context.Context, cpu int) (*running, error) {
	c, devices, _, err := bench.StartGateway(ctx, cpu, filepath.Join(o.Bin, "longline"), o.Many+o.Few)
	if err != nil {
		return nil, err
	}
	return &running{addr: devices, command: c, collects: true}, nil
}

func (o *options) startMochi(ctx context.Context, cpu int) (*running, error) {
	addr, err := bench.FreeAddress()
	if err != nil {
		return nil, err
	}
	c, version, addr, err := bench.StartServer(ctx, cpu, filepath.Join(o.Bin, "peers"), "mochi", addr.String())
	if err != nil {
		return nil, err
	}
	r := &running{addr: addr, version: version, command: c, collects: true}
	if err := bench.Reachable(ctx, addr); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

// raiseLimit sets the limit of descriptors to its maximum, for the servers. Go raises its own limit,
// but starts processes with the old one unless the program has set it.
func raiseLimit() error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	l.Cur = l.Max
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &l)
}
