package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/longline/longline/internal/bench"
)

// server is one of those that are compared.
type server struct {
	name  string
	start func(ctx context.Context, cpu int) (*running, error)
}

// Name implements bench.Named.
func (s server) Name() string { return s.name }

// servers are all, or those that were asked for.
func (o *options) servers() ([]server, error) {
	all := []server{{"mosquitto", startMosquitto}, {"mochi", o.startMochi}, {"longline", o.startLongline}}
	return bench.Chosen(all, o.Only)
}

// running is a server's process.
type running struct {
	addr    netip.AddrPort
	version string
	command *exec.Cmd
	// collects: the process returns free memory when it is asked to by SIGUSR1.
	collects bool
}

// process is the server's.
func (r *running) process() bench.Process { return bench.Process(r.command.Process.Pid) }

// memory is what the process keeps when it is at rest.
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
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	c, version, addr, err := bench.StartServer(ctx, cpu, filepath.Join(o.Bin, "peers"), "mochi", addr.String())
	if err != nil {
		return nil, err
	}
	r := &running{addr: addr, version: version, command: c, collects: true}
	if err := reachable(ctx, addr); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

// freeAddress is one that nobody listens on now: for servers that cannot choose themselves.
func freeAddress() (netip.AddrPort, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.MustParseAddrPort(l.Addr().String()), l.Close()
}

const (
	startTime = 10 * time.Second // that a server has to listen
	startStep = 20 * time.Millisecond
)

// reachable waits until somebody listens on addr.
func reachable(ctx context.Context, addr netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr.String())
		if err == nil {
			return c.Close()
		}
		select {
		case <-time.After(startStep):
		case <-ctx.Done():
			return fmt.Errorf("the server did not start: %w", err)
		}
	}
}

// raiseLimit lets the servers have as many descriptors as is allowed. Go raises its own limit,
// but gives the old one to the processes that it starts unless it was set.
func raiseLimit() error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	l.Cur = l.Max
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &l)
}
