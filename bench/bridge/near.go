package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/test/servers"
)

// mosquitto is a Mosquitto that bridges to another one.
type mosquitto struct{ *servers.Process }

func (m mosquitto) URL() string { return "mqtt://" + m.Address() }

// startMosquitto starts a Mosquitto as it is packaged, with its persistence on, and with a bridge that tries again after a second.
func startMosquitto(ctx context.Context, dir string, far *servers.Process, more ...string) (end, error) {
	lines := append([]string{
		"autosave_on_changes false", "autosave_interval 1800", "max_inflight_messages 20",
		"connection up", "address " + far.Address(), "cleansession false", "restart_timeout 1",
		`topic device/+/telemetry out 1 "" site7/`,
	}, more...)
	p, err := servers.Launch(ctx, servers.MosquittoProgram(lines...), dir)
	if p == nil {
		return nil, err
	}
	return mosquitto{p}, err
}

// gateway is a Longline with a sink of MQTT.
type gateway struct {
	devices, admin string
	program, file  string
	command        *exec.Cmd
}

func (g *gateway) URL() string { return "mqtt://" + g.devices }

func (g *gateway) PID() int { return g.command.Process.Pid }

// startLongline starts a gateway whose store is on disk.
func (o *options) startLongline(ctx context.Context, dir string, far *servers.Process) (end, error) {
	var addresses [3]string
	for i := range addresses {
		a, err := bench.FreeAddress()
		if err != nil {
			return nil, err
		}
		addresses[i] = a.String()
	}
	g := &gateway{devices: addresses[0], admin: addresses[1], program: o.Longline, file: filepath.Join(dir, "longline.yaml")}
	text := fmt.Sprintf(`gateway: {listen: %q, insecure: true, mqtt: {listen: %q}}
api: {address: %q}
store: {path: %q}
streams: {telemetry: {filters: ["device/+/telemetry"]}}
sinks:
  up:
    stream: telemetry
    mqtt: {url: "mqtt://%s", topics: ["device/+/telemetry -> site7/{topic}"]}
`, addresses[2], g.devices, g.admin, filepath.Join(dir, "store"), far.Address())
	if err := os.WriteFile(g.file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return g, g.Restart(ctx)
}

// Kill ends the gateway at once.
func (g *gateway) Kill() {
	if g.command != nil {
		_ = g.command.Process.Kill() // it may have ended
		_ = g.command.Wait()
		g.command = nil
	}
}

// Restart starts the gateway and waits until it is ready.
func (g *gateway) Restart(ctx context.Context) error {
	c := exec.Command(g.program, "serve", "--config", g.file)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var output strings.Builder
	c.Stderr = &output
	if err := c.Start(); err != nil {
		return err
	}
	g.command = c
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		answer, err := http.Get("http://" + g.admin + "/readyz")
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			g.Kill()
			return fmt.Errorf("the gateway does not start: %s", output.String())
		}
	}
}
