package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// gateway is a process of longline serve.
type gateway struct {
	api     longlinev1connect.GatewayClient
	admin   bench.Admin
	process bench.Process
	command *exec.Cmd
}

// configuration is the gateway's configuration file. Every other option has its default. All devices have the same token.
const configuration = `gateway: {listen: "%s", insecure: %v, max_connections: %d, loops: %d, heartbeat: %v}
api: {address: "%s"}
log: {level: warn}
sessions: {per_credential: %d}
`

const startTime = 10 * time.Second

// startGateway starts the process and returns when it is ready.
func startGateway(ctx context.Context, o *options) (*gateway, error) {
	config := filepath.Join(o.Out, o.Name+".yaml")
	door, err := o.door()
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf(configuration, o.Listen, o.Token == "", o.Devices, o.Loops, o.Beat, o.Admin, o.Devices) + door
	if o.Store {
		text += fmt.Sprintf("store: {path: %q}\n", o.data())
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: callers}
	g := &gateway{
		admin:   bench.Admin{URL: "http://" + o.Admin, Client: &http.Client{Transport: transport}},
		command: exec.Command(o.Longline, "serve", "--config", config),
	}
	g.command.Stderr = os.Stderr
	// Only this process gets Ctrl-C, and then ends the gateway. If this process dies, the gateway is killed.
	g.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := g.command.Start(); err != nil {
		return nil, err
	}
	g.process = bench.Process(g.command.Process.Pid)
	g.api = longlinev1connect.NewGatewayClient(g.admin.Client, g.admin.URL)
	if err := g.ready(ctx); err != nil {
		g.kill()
		return nil, err
	}
	return g, nil
}

// data is the folder of the store.
func (o *options) data() string { return filepath.Join(o.Out, o.Name+"-data") }

// door returns the section of the configuration that makes the gateway ask every device for the token, if there is
// one.
func (o *options) door() (string, error) {
	if o.Token == "" {
		return "", nil
	}
	file := filepath.Join(o.Out, o.Name+".tokens")
	line := fmt.Sprintf("* sha256:%x\n", sha256.Sum256([]byte(o.Token)))
	return fmt.Sprintf("auth: {order: [tokens], tokens: {file: %q}}\n", file), os.WriteFile(file, []byte(line), 0o600)
}

// ready waits until the gateway takes devices.
func (g *gateway) ready(ctx context.Context) error {
	for deadline := time.Now().Add(startTime); time.Now().Before(deadline); {
		if _, err := g.admin.Get(ctx, "/readyz"); err == nil {
			return nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("the gateway does not start")
}

// kill kills the process and waits for its end.
func (g *gateway) kill() {
	_ = g.command.Process.Kill()
	_ = g.command.Wait() // it was killed
	g.admin.Client.CloseIdleConnections()
}

// profile writes one of the gateway's profiles, over a time or, for 0, at once.
func (g *gateway) profile(ctx context.Context, o *options, kind, label string, d time.Duration) error {
	path := "/debug/pprof/" + kind
	if d > 0 {
		path += fmt.Sprintf("?seconds=%.0f", d.Seconds())
	}
	body, err := g.admin.Get(ctx, path)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.Out, fmt.Sprintf("%s-%s.prof", o.Name, label)), body, 0o644)
}

// used returns the memory that is in use: what the process has after free memory was returned to the
// system.
func (g *gateway) used(ctx context.Context) (uint64, error) {
	last := uint64(0)
	for range 2 { // the second collection frees what the first one finalizes
		if err := syscall.Kill(int(g.process), syscall.SIGUSR1); err != nil {
			return 0, fmt.Errorf("signal the gateway: %w", err)
		}
		for still := 0; still < 4; still++ { // until it has not shrunk for a second
			if err := pause(ctx, 250*time.Millisecond); err != nil {
				return 0, err
			}
			now, err := g.process.Memory()
			if err != nil {
				return 0, err
			}
			if now < last-last/256 {
				still = 0
			}
			last = now
		}
	}
	return last, nil
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
