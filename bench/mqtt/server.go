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

// freeAddress returns an address that nobody listens on now, for servers that cannot choose a port themselves.
func freeAddress() (netip.AddrPort, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.MustParseAddrPort(l.Addr().String()), l.Close()
}

const (
	startTime = 10 * time.Second // within which a server must listen
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
