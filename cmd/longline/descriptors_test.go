package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// under returns a command that runs the program with a limit of descriptors and a configuration.
func under(t *testing.T, limit int, config string) *exec.Cmd {
	t.Helper()
	file := filepath.Join(t.TempDir(), "longline.yaml")
	if err := os.WriteFile(file, []byte("log: {format: json}\n"+config), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, limit), os.Args[0],
		"serve", "--config", file, "--insecure", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	c.Env = append(os.Environ(), asProgram+"=1")
	return c
}

// If the limit of descriptors is too low for max_connections, the program says at once what it needs
// and what to do.
func TestTooFewDescriptors(t *testing.T) {
	for _, limit := range []int{64, 256, 512} {
		out, err := under(t, limit, "").CombinedOutput()
		if err == nil {
			t.Fatalf("%d: it ran", limit)
		}
		for _, want := range []string{"gateway.max_connections", fmt.Sprintf("it is %d,", limit), "100000 connections need", "ulimit -Hn"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%d: got %q, want %q", limit, out, want)
			}
		}
	}
}

// Under a low limit the gateway serves as many devices as fit, with one table or several.
func TestFewDescriptors(t *testing.T) {
	for _, c := range []struct{ limit, devices int }{{256, 100}, {64, 100}} {
		p := start(t, under(t, c.limit, fmt.Sprintf("gateway: {max_connections: %d}\n", c.devices)), c.devices)
		p.signal()
		p.delays(c.devices)
		if code := p.exitCode(); code != exitDone {
			t.Errorf("%d: exit code %d, want %d", c.limit, code, exitDone)
		}
	}
}

// Silent connections take no descriptor from a request for health.
func TestFewDescriptorsAndIdleConnections(t *testing.T) {
	const limit = 256
	p := start(t, under(t, limit, "gateway: {max_connections: 10}\n"), 1)
	for range 2 * limit {
		c, err := net.Dial("tcp", p.admin)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	if status := p.status(p.admin + "/healthz"); status != http.StatusOK {
		t.Errorf("health: %d", status)
	}
	response, err := http.Get("http://" + p.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	metrics, err := io.ReadAll(response.Body)
	if err != nil || !regexp.MustCompile(`(?m)^longline_api_connections_closed_total [1-9]`).Match(metrics) {
		t.Errorf("none was closed to make room for it, or %v", err)
	}
	p.signal()
	p.delays(1)
	if code := p.exitCode(); code != exitDone {
		t.Errorf("exit code %d, want %d", code, exitDone)
	}
}

// The admin port's connections leave descriptors to the devices and to the process.
func TestFitting(t *testing.T) {
	for _, c := range []struct{ want, devices, limit, fit int }{
		{1000, 100_000, 1 << 20, 1000},
		{1000, 100_000, 100_300, 150}, // one table, of which devices leave 300
		{1000, 100_000, 20_000, 1000}, // a table for each loop
		{1000, 100_000, 1024, 256},
		{1000, 100, 256, 64},
		{20, 100, 256, 20},
		{1000, 100, 3, 1},
	} {
		if got := fitting(c.want, c.devices, c.limit); got != c.fit {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
