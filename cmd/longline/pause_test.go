package main

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// After the process was stopped for longer than devices may be silent, it keeps their connections:
// what they sent meanwhile waits in their sockets.
func TestPauseLosesNoDevice(t *testing.T) {
	const devices = 50
	p := serve(t, "gateway: {heartbeat: 1s, heartbeat_timeout: 2s}\n", 0)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var conns []*websocket.Conn
	for i := range devices {
		c, _, err := websocket.Dial(ctx, fmt.Sprintf("ws://%s/connect/d%d", p.devices, i), nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() { // answers pings
			for err := error(nil); err == nil; {
				_, _, err = c.Read(ctx)
			}
		}()
		conns = append(conns, c)
	}
	send := func(s syscall.Signal) {
		if err := p.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	send(syscall.SIGSTOP)
	time.Sleep(3 * time.Second) // the pause
	send(syscall.SIGCONT)
	for i, c := range conns {
		if err := c.Ping(ctx); err != nil {
			t.Errorf("d%d: %v", i, err)
		}
	}
	p.signal()
	if code := p.exitCode(); code != exitDone {
		t.Errorf("exit code %d, want %d", code, exitDone)
	}
}
