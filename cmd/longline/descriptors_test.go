package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// under runs the program with a limit of descriptors, and a configuration.
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

// A limit of descriptors that is too low for max_connections is told at once, with what is needed
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

// As many as fit are served under a low limit, with one table or several.
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
