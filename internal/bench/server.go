package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const stopTime = 5 * time.Second // after which a server is killed

// Command returns a command that runs a program on one processor until ctx ends. Programs
// in Go have one P. taskset replaces itself by the program, so that its process id is the program's.
func Command(ctx context.Context, cpu int, program ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, program[0], program[1:]...)
	if cpu >= 0 {
		c = exec.CommandContext(ctx, "taskset", append([]string{"-c", strconv.Itoa(cpu)}, program...)...)
		c.Env = append(os.Environ(), "GOMAXPROCS=1")
	}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = stopTime
	return c
}

// Stop ends a process and waits for it. It sends a second signal to end a drain.
func Stop(c *exec.Cmd) {
	_ = c.Process.Signal(syscall.SIGTERM)
	again := time.AfterFunc(time.Second, func() { _ = c.Process.Signal(syscall.SIGTERM) })
	kill := time.AfterFunc(stopTime, func() { _ = c.Process.Kill() })
	defer again.Stop()
	defer kill.Stop()
	_ = c.Wait() // its error is the signal
}

// StartServer starts a program on one processor. The program's first line must say where it listens:
// "NAME VERSION on ADDRESS:PORT", where VERSION may be missing. Its standard
// error is shown.
func StartServer(ctx context.Context, cpu int, program ...string) (c *exec.Cmd, version string, addr netip.AddrPort, err error) {
	c = Command(ctx, cpu, program...)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, "", addr, err
	}
	if err := c.Start(); err != nil {
		return nil, "", addr, err
	}
	if version, addr, err = announced(out); err != nil {
		Stop(c)
		return nil, "", addr, err
	}
	return c, version, addr, nil
}

// announced reads a server's first line.
func announced(out io.Reader) (version string, addr netip.AddrPort, err error) {
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", addr, fmt.Errorf("the server did not start: %w", err)
	}
	name, where, _ := strings.Cut(strings.TrimSpace(line), " on ")
	if addr, err = netip.ParseAddrPort(where); err != nil {
		return "", addr, fmt.Errorf("the server said %q: %w", line, err)
	}
	_, version, _ = strings.Cut(name, " ")
	return version, addr, nil
}

// listening finds the addresses in the line that a gateway logs when it listens.
var listening = regexp.MustCompile(`msg=listening devices=(\S+) admin=(\S+)`)

// StartGateway starts longline as a gateway without credentials on one processor, and
// returns the addresses for devices and backends. The gateway is configured for the given number of devices, because
// for more than one descriptor table holds it would start several loops, each with a thread of
// its own, which is meant for several processors. more are further lines of its configuration file.
func StartGateway(ctx context.Context, cpu int, longline string, most int, more ...string) (c *exec.Cmd, devices, admin netip.AddrPort, err error) {
	config, err := configFile(fmt.Sprintf("gateway: {max_connections: %d}\n%s", most, strings.Join(more, "\n")))
	if err != nil {
		return nil, devices, admin, err
	}
	defer func() { _ = os.Remove(config) }() // it is read before the gateway listens
	c = Command(ctx, cpu, longline, "serve", "--config="+config, "--insecure", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0")
	log, err := c.StderrPipe()
	if err != nil {
		return nil, devices, admin, err
	}
	if err := c.Start(); err != nil {
		return nil, devices, admin, err
	}
	devices, admin, err = addresses(log)
	if err != nil {
		Stop(c)
		return nil, devices, admin, err
	}
	go func() { _, _ = io.Copy(io.Discard, log) }() // ends with the process
	return c, devices, admin, nil
}

// configFile writes a configuration to a new file and returns its name.
func configFile(text string) (string, error) {
	f, err := os.CreateTemp("", "longline-*.yaml")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(text)
	return f.Name(), errors.Join(err, f.Close())
}

// addresses reads a gateway's log until it says where it listens.
func addresses(log io.Reader) (devices, admin netip.AddrPort, err error) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		m := listening.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		if devices, err = netip.ParseAddrPort(m[1]); err == nil {
			admin, err = netip.ParseAddrPort(m[2])
		}
		return devices, admin, err
	}
	return devices, admin, errors.New("the gateway did not start")
}
