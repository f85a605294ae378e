package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/longline/longline/internal/bench"
)

// targets are where an attacker goes, and the token of a device that was stolen.
type targets struct {
	Devices string `required:"" help:"Address of the device port, which speaks TLS."`
	MQTT    string `required:"" help:"Address of MQTT over TCP."`
	Admin   string `required:"" help:"Address of the admin port."`
	Token   string `required:"" help:"A token that is good for devices whose id begins with bad-."`
}

// gateway is a process of longline serve.
type gateway struct {
	targets targets
	folder  string // of its files
	command *exec.Cmd
	process bench.Process
	http    http.Client
}

// configuration is what a gateway on the open internet needs beside the defaults, and smaller
// bounds where those are for more devices and longer times than an attack has.
const configuration = `
gateway:
  listen: 127.0.0.1:0
  compression: true
  handshake_timeout: %[1]v
  stall_timeout: %[1]v
  message_timeout: %[1]v
  unverified_bytes: 1MiB
  tls: {cert: %[2]q, key: %[3]q, timeout: %[1]v}
  mqtt: {listen: 127.0.0.1:0}
auth:
  order: [tokens]
  tokens: {file: %[4]q}
sessions: {expiry: 5s, ack_timeout: %[1]v, wills_per_credential: 1MiB, max_subscriptions: 100, max_filters: 64}
store:
  queue: {count: 50, bytes: 256KiB}
  retained: {count: 1000, bytes: 16MiB, per_device: 1}
limits:
  connections: {per_address: 1500}
  connect: {per_second: 500, burst: 250, line: 700}
  device: {messages: 50, message_burst: 20, bytes: 64KiB}
  memory: {limit: 1GiB}
api: {address: "127.0.0.1:0", tokens: %[5]q, max_connections: 200}
log: {level: info, format: json}
`

// Tokens of those who keep to the rules, and of those who do not.
const (
	honestToken = "kept-by-honest-devices"
	stolenToken = "stolen-from-a-device"
	readToken   = "of-who-reads-the-metrics"
)

// reader shows the token of the admin port.
type reader struct{}

func (reader) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+readToken)
	return http.DefaultTransport.RoundTrip(r)
}

// startGateway returns when the process listens.
func startGateway(ctx context.Context, o *options) (*gateway, error) {
	folder, err := os.MkdirTemp("", "longline-attack")
	if err != nil {
		return nil, err
	}
	g := &gateway{folder: folder, targets: targets{Token: stolenToken}, http: http.Client{Timeout: 30 * time.Second, Transport: reader{}}}
	config, err := g.files(o)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	g.command = exec.CommandContext(ctx, o.Longline, "serve", "--config", config)
	g.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	log, err := g.command.StderrPipe()
	if err == nil {
		err = g.command.Start()
	}
	if err == nil {
		err = g.listening(log)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	g.process = bench.Process(g.command.Process.Pid)
	return g, nil
}

// files writes what the gateway reads.
func (g *gateway) files(o *options) (config string, err error) {
	name := func(n string) string { return filepath.Join(g.folder, n) }
	if _, err := bench.WriteCertificate(name("cert.pem"), name("key.pem")); err != nil {
		return "", err
	}
	tokens := fmt.Sprintf("bench-* sha256:%x honest\nbad-* sha256:%x stolen\n", sha256.Sum256([]byte(honestToken)), sha256.Sum256([]byte(stolenToken)))
	if err := os.WriteFile(name("tokens"), []byte(tokens), 0o600); err != nil {
		return "", err
	}
	readers := fmt.Sprintf("read sha256:%x metrics\n", sha256.Sum256([]byte(readToken)))
	if err := os.WriteFile(name("readers"), []byte(readers), 0o600); err != nil {
		return "", err
	}
	patience := max(o.Duration/3, 700*time.Millisecond) // its end is seen within an attack
	text := fmt.Sprintf(configuration, patience, name("cert.pem"), name("key.pem"), name("tokens"), name("readers"))
	return name("longline.yaml"), os.WriteFile(name("longline.yaml"), []byte(text), 0o600)
}

// target is the gateway for honest devices.
func (g *gateway) target() bench.Target {
	return bench.Target{
		Addr:    netip.MustParseAddrPort(g.targets.Devices),
		TLS:     &tls.Config{InsecureSkipVerify: true}, // its certificate was made a moment ago
		Devices: "bench-",
		Token:   honestToken,
		Process: g.process,
	}
}

// stop ends the process, and forgets its files.
func (g *gateway) stop() {
	_ = g.command.Process.Kill()
	_ = g.command.Wait() // it was killed
	_ = os.RemoveAll(g.folder)
}

// resident are the bytes of the process in memory.
func (g *gateway) resident() (uint64, error) { return g.status("VmRSS:") }

// peak is the most that it had since resetPeak.
func (g *gateway) peak() (uint64, error) { return g.status("VmHWM:") }

// resetPeak begins to look for the peak anew, proc_pid_clear_refs(5).
func (g *gateway) resetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", g.process), []byte("5"), 0)
}

// status reads a line of /proc/PID/status that is in kB.
func (g *gateway) status(name string) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.process))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(text, []byte("\n"+name))
	line, _, _ := bytes.Cut(rest, []byte(" kB"))
	kib, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 10, 54)
	return kib << 10, err
}

// metrics asks the gateway for its counters.
func (g *gateway) metrics(ctx context.Context) (metrics, error) {
	admin := bench.Admin{URL: "http://" + g.targets.Admin, Client: &g.http}
	text, err := admin.Get(ctx, "/metrics")
	return parse(text), err
}
