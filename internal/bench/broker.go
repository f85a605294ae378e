package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// findMosquitto returns the system's mosquitto and its version. It also looks in sbin directories.
func findMosquitto() (program, version string, err error) {
	for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"} {
		if program, err = exec.LookPath(name); err == nil {
			help, _ := exec.Command(program, "-h").Output() // it exits with 3
			return program, mosquittoVersion(string(help)), nil
		}
	}
	return "", "", errors.New("mosquitto is not installed: make deps installs it")
}

// mosquittoConfig has a WebSocket listener, without authentication; see mosquitto.conf(5), which recommends set_tcp_nodelay for
// latency. 2.0.11 does not start with a WebSocket listener alone, hence the other one, which nobody uses.
const mosquittoConfig = `listener %d %s
protocol websockets
listener 0 %s
allow_anonymous true
set_tcp_nodelay true
log_dest none
user root
%s`

// StartMosquitto runs the system's mosquitto on one processor. Its files are in folder, and settings are further lines of its
// configuration.
func StartMosquitto(ctx context.Context, cpu int, folder, settings string) (c *exec.Cmd, version string, addr netip.AddrPort, err error) {
	program, version, err := findMosquitto()
	if err != nil {
		return nil, "", addr, err
	}
	if addr, err = FreeAddress(); err != nil {
		return nil, "", addr, err
	}
	config := filepath.Join(folder, "mosquitto.conf")
	text := fmt.Appendf(nil, mosquittoConfig, addr.Port(), addr.Addr(), filepath.Join(folder, "socket"), settings)
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return nil, "", addr, err
	}
	c = Command(ctx, cpu, program, "-c", config)
	if err := c.Start(); err != nil {
		return nil, "", addr, err
	}
	if err := Reachable(ctx, addr); err != nil {
		Stop(c)
		return nil, "", addr, err
	}
	return c, version, addr, nil
}

// mosquittoVersion reads the first line of the help, "mosquitto version 2.0.11".
func mosquittoVersion(help string) string {
	line, _, _ := strings.Cut(help, "\n")
	_, version, _ := strings.Cut(line, " version ")
	return strings.TrimSpace(version)
}

// FreeAddress returns an address that nobody listens on now, for servers that cannot choose a port themselves.
func FreeAddress() (netip.AddrPort, error) {
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

// Reachable waits until somebody listens on addr.
func Reachable(ctx context.Context, addr netip.AddrPort) error {
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
