package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"testing"
)

const (
	buffered = 16 // more lines than a device prints at once
	requests = 2  // packets for which it waits for an ack: the subscription, and the reading of QoS 1
)

func startNode(ctx context.Context, t *testing.T, id string) *device {
	if _, err := os.Stat("node/node_modules/ws"); err != nil {
		t.Fatalf("the ws package is not installed (%v): run npm ci in test/interop/node, or make test", err)
	}
	return startScript(ctx, t, "install Node.js 18 or later", "node", "node/device.js", target(gateway.devices, id))
}

// startPython uses the distribution's Python, which has the package.
func startPython(ctx context.Context, t *testing.T, id string) *device {
	const python = "/usr/bin/python3"
	if err := exec.CommandContext(ctx, python, "-c", "import websockets").Run(); err != nil {
		t.Fatalf("%s has no websockets (%v): run apt-get install python3-websockets, or make test", python, err)
	}
	return startScript(ctx, t, "install python3", python, "python/device.py", target(gateway.devices, id))
}

// target returns the URL that a device connects to.
func target(addr, id string) string { return "ws://" + addr + "/connect/" + id }

// startScript runs a device that prints every packet that it gets, one per line.
func startScript(ctx context.Context, t *testing.T, remedy, program string, args ...string) *device {
	t.Helper()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: %s", err, remedy)
	}
	s := script{
		t:         t,
		greetings: make(chan bool, buffered),
		ready:     make(chan struct{}),
		commands:  make(chan command, buffered),
	}
	left := make(chan error, 1)
	go func() {
		s.read(stdout)
		left <- cmd.Wait()
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &device{
		greetings: s.greetings,
		ready:     s.ready,
		commands:  s.commands,
		reconnect: func() { _, _ = io.WriteString(stdin, "\n") },
		left:      left,
	}
}

// script reads the output of a device.
type script struct {
	t         *testing.T
	greetings chan bool
	ready     chan struct{}
	commands  chan command
	acks      int
}

func (s *script) read(stdout io.Reader) {
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		var packet struct {
			Op      string
			Resumed bool
			Error   any
		}
		if err := json.Unmarshal(lines.Bytes(), &packet); err != nil {
			s.t.Errorf("%q: %v", lines.Text(), err)
			continue
		}
		if packet.Error != nil {
			s.t.Errorf("refused: %s", lines.Text())
		}
		s.packet(packet.Op, packet.Resumed, lines.Bytes())
	}
}

func (s *script) packet(op string, resumed bool, line []byte) {
	switch op {
	case "hello":
		s.greetings <- resumed
	case "msg":
		var c command
		if err := json.Unmarshal(line, &c); err != nil {
			s.t.Errorf("%s: %v", line, err)
		}
		s.commands <- c
	case "ack":
		if s.acks++; s.acks == requests {
			close(s.ready)
		}
	}
}
