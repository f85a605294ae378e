package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
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
		{"memory", o.startLongline(false)},
		{"longline", o.startLongline(true)},
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

// startLongline returns a function that starts a gateway, with its store on disk or in memory. The session that is away
// keeps all that comes.
func (o *options) startLongline(onDisk bool) func(context.Context, int, string) (*running, error) {
	return func(ctx context.Context, cpu int, folder string) (*running, error) {
		if !onDisk {
			folder = ""
		}
		store := fmt.Sprintf("store: {path: %q, queue: {count: 1000000000, bytes: 64GiB}}", folder)
		c, devices, _, err := bench.StartGateway(ctx, cpu, filepath.Join(o.Bin, "longline"), o.Devices+10, store)
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

// mosquittoConfig makes Mosquitto keep all that comes, and write it to its database every half hour, its default, and
// at its end. 2.0.11 does not start with a WebSocket listener alone, hence the other one, which nobody uses.
const mosquittoConfig = `listener %d %s
protocol websockets
listener 0 %s
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 0
max_queued_bytes 0
persistence true
persistence_location %s/
log_dest none
user root
`

// startMosquitto runs the system's mosquitto with our configuration.
func startMosquitto(ctx context.Context, cpu int, folder string) (*running, error) {
	program, version, err := bench.FindMosquitto()
	if err != nil {
		return nil, err
	}
	addr, err := bench.FreeAddress()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(folder, "mosquitto.conf")
	text := fmt.Appendf(nil, mosquittoConfig, addr.Port(), addr.Addr(), filepath.Join(folder, "socket"), folder)
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return nil, err
	}
	c := bench.Command(ctx, cpu, program, "-c", config)
	if err := c.Start(); err != nil {
		return nil, err
	}
	r := &running{addr, version, c}
	if err := bench.Reachable(ctx, addr); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}
