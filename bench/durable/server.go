package main

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"

	"github.com/longline/longline/internal/bench"
)

// server is a server under comparison.
type server struct {
	name  string
	start func(ctx context.Context, cpu int, folder string) (*running, error)
}

// Name implements bench.Named.
func (s server) Name() string { return s.name }

// servers returns all servers, or those that the options name.
func (o *options) servers() ([]server, error) {
	all := []server{
		{"mosquitto", startMosquitto},
		{"nats", o.startNATS},
		{"memory", o.startLongline(false, false)},
		{"longline", o.startLongline(true, false)},
		{"streamed", o.startLongline(true, true)},
	}
	return bench.Chosen(all, o.Only)
}

// running is a server's process.
type running struct {
	addr    netip.AddrPort
	version string
	command *exec.Cmd
}

// process returns the server's process.
func (r *running) process() bench.Process { return bench.Process(r.command.Process.Pid) }

// stop ends the process and waits for it.
func (r *running) stop() { bench.Stop(r.command) }

// startLongline returns a function that starts a gateway, with its store on disk or in memory, and perhaps with a stream that gets
// what the session gets that is away. That session keeps all that comes.
func (o *options) startLongline(onDisk, streamed bool) func(context.Context, int, string) (*running, error) {
	return func(ctx context.Context, cpu int, folder string) (*running, error) {
		if !onDisk {
			folder = ""
		}
		more := fmt.Sprintf("store: {path: %q, queue: {count: 1000000000, bytes: 64GiB}}\n", folder)
		if streamed {
			more += fmt.Sprintf("streams: {telemetry: {filters: [%q], max_bytes: 10GiB}}\n", bench.FilterTelemetry(0))
		}
		c, devices, _, err := bench.StartGateway(ctx, cpu, filepath.Join(o.Bin, "longline"), o.Devices+10, more)
		if err != nil {
			return nil, err
		}
		return &running{addr: devices, command: c}, nil
	}
}

func (o *options) startNATS(ctx context.Context, cpu int, folder string) (*running, error) {
	addr, err := bench.FreeAddress()
	if err != nil {
		return nil, err
	}
	c, version, addr, err := bench.StartServer(ctx, cpu, filepath.Join(o.Bin, "peers"), "nats", addr.String(), folder)
	if err != nil {
		return nil, err
	}
	return &running{addr, version, c}, nil
}

// mosquittoSettings make Mosquitto keep all that comes, and write it to its database every half hour, its default, and
// at its end.
const mosquittoSettings = `max_queued_messages 0
max_queued_bytes 0
persistence true
persistence_location %s/
`

// startMosquitto runs the system's mosquitto with its files in folder.
func startMosquitto(ctx context.Context, cpu int, folder string) (*running, error) {
	c, version, addr, err := bench.StartMosquitto(ctx, cpu, folder, fmt.Sprintf(mosquittoSettings, folder))
	if err != nil {
		return nil, err
	}
	return &running{addr, version, c}, nil
}
