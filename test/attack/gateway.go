package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/longline/longline/internal/bench"
)

// targets are the gateway's addresses, and the tokens that an attacker has.
type targets struct {
	Devices string `required:"" help:"Address of the device port, which uses TLS."`
	MQTT    string `required:"" help:"Address of MQTT over TCP."`
	Admin   string `required:"" help:"Address of the admin port."`
	Token   string `required:"" help:"Token of the devices whose ids begin with bad-."`
	Backend string `required:"" help:"Token of the admin port."`
}

// gateway is a process of longline serve.
type gateway struct {
	targets targets
	folder  string // has its files
	process *process
	http    http.Client // sends the token of a reader of metrics
}

// startGateway starts the process and returns when it listens.
func startGateway(ctx context.Context, o *options, s *setting) (*gateway, error) {
	folder, err := os.MkdirTemp("", "longline-attack")
	if err != nil {
		return nil, err
	}
	g := &gateway{folder: folder, http: http.Client{Timeout: 30 * time.Second, Transport: bearer(readToken)}}
	if err := s.write(folder, o); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	g.process, err = start(ctx, folder, s.command(o.Longline))
	if err == nil {
		g.targets, err = g.process.listening()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	g.targets.Token, g.targets.Backend = stolenToken, backendToken
	return g, nil
}

// target returns the gateway as the honest devices' target.
func (g *gateway) target() bench.Target {
	return bench.Target{
		Addr:    netip.MustParseAddrPort(g.targets.Devices),
		TLS:     &tls.Config{InsecureSkipVerify: true}, // nobody has signed its certificate
		Devices: "bench-",
		Token:   honestToken,
		Process: bench.Process(g.process.pid()),
	}
}

// stop ends the process and removes its files.
func (g *gateway) stop() {
	g.process.kill()
	_ = os.RemoveAll(g.folder)
}

// metrics reads the gateway's counters.
func (g *gateway) metrics(ctx context.Context) (metrics, error) {
	admin := bench.Admin{URL: "http://" + g.targets.Admin, Client: &g.http}
	text, err := admin.Get(ctx, "/metrics")
	return parse(text), err
}
