package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/longline/longline/internal/bench"
)

// mosquittoConfig has Mosquitto's defaults, over WebSocket, without authentication and without
// writing to disk; see mosquitto.conf(5), which recommends set_tcp_nodelay for latency.
// 2.0.11 does not start with a WebSocket listener alone, hence the other one, which nobody uses.
const mosquittoConfig = `listener %d %s
protocol websockets
listener 0 %s
allow_anonymous true
set_tcp_nodelay true
persistence false
log_dest none
user root
`

// startMosquitto runs the system's mosquitto with our configuration.
func startMosquitto(ctx context.Context, cpu int) (*running, error) {
	program, version, err := bench.FindMosquitto()
	if err != nil {
		return nil, err
	}
	addr, err := bench.FreeAddress()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "mosquitto")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }() // all of it has been read
	config := filepath.Join(folder, "mosquitto.conf")
	text := fmt.Appendf(nil, mosquittoConfig, addr.Port(), addr.Addr(), filepath.Join(folder, "socket"))
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return nil, err
	}
	c := bench.Command(ctx, cpu, program, "-c", config)
	if err := c.Start(); err != nil {
		return nil, err
	}
	r := &running{addr: addr, version: version, command: c}
	if err := bench.Reachable(ctx, addr); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}
