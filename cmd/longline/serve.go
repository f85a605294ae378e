package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/longline/longline/internal/config"
	"github.com/longline/longline/internal/gateway"
	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/store"
)

// Serve is the command that runs a gateway.
type Serve struct {
	Config   string   `type:"existingfile" placeholder:"FILE" help:"Configuration file. longline config example prints one."`
	Listen   string   `placeholder:"ADDR" help:"Address for devices (:8080)."`
	MQTT     string   `name:"mqtt" placeholder:"ADDR" help:"Address for MQTT over TCP, such as :1883. Off by default."`
	Admin    string   `placeholder:"ADDR" help:"Address for backends, metrics and health (127.0.0.1:8081)."`
	Data     string   `placeholder:"DIR" help:"Directory in which sessions, queues, retained messages, streams and commands survive a restart. It is made if it is missing. Off by default."`
	Insecure bool     `xor:"insecure" help:"Ask devices for no credentials and believe the device id in the URL. Loopback addresses only."`
	Set      []string `placeholder:"KEY=VALUE" sep:"none" help:"Set an option, such as gateway.heartbeat=10s. May be repeated."`
	Anywhere bool     `name:"insecure-anywhere" xor:"insecure" help:"As --insecure, on any address: everybody who reaches the port can be any device."`
}

// Run serves until ctx ends, then drains. The drain ends after gateway.drain_timeout at the latest. A second signal
// ends it at once, with the exit code exitCutShort. At SIGUSR1 the process returns free memory to the system, at SIGHUP it
// looks at the files that it watches.
func (s *Serve) Run(ctx context.Context, console *Console) error {
	c, err := s.config(os.Environ())
	if err != nil {
		return err
	}
	log := c.Log.Logger(console.Err)
	slog.SetDefault(log) // the watchers of files log to the default
	n, err := startNode(ctx, c, log, console.Err)
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // the gateway goes on when nobody reads its log any more
	stop := freeMemory()
	defer stop()
	follower, err := n.followConfig(s.Config, c, func() (config.Config, error) { return s.config(os.Environ()) })
	if err != nil {
		n.close()
		return err
	}
	defer follower.close()
	stopReloading := reloadOnSignal(log, follower)
	defer stopReloading()
	log.Info("listening", n.addresses()...)
	warnOfDoors(log, &c, n.gateway.Addr().String())
	select {
	case <-ctx.Done():
	case err := <-n.failed:
		n.close()
		return err
	}
	return n.drain(console, log, c.Gateway.DrainTimeout)
}

// warnOfDoors warns when the node accepts every device, or none.
func warnOfDoors(log *slog.Logger, c *config.Config, devices string) {
	switch {
	case c.Gateway.Insecure || slices.Contains(c.Auth.Order, "insecure"):
		log.Warn("INSECURE: the gateway asks devices for no credentials: everybody who reaches the device port can be any device", "devices", devices)
	case len(c.Auth.Order) == 0:
		log.Warn("no device can connect: auth.order names no way to authenticate; for a trial on loopback, start with --insecure")
	}
}

// reloadOnSignal looks at the watched files at each SIGHUP, until stop is called.
func reloadOnSignal(log *slog.Logger, f *follower) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-signals:
				f.look()
				log.Info("SIGHUP: looked at certificates, keys, credentials, sinks and the audit log again")
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}

// addresses returns the addresses that the node listens on and the directory of its store, as attributes for the log.
func (n *node) addresses() []any {
	all := []any{"devices", n.gateway.Addr().String(), "admin", n.server.Addr().String()}
	if a := n.gateway.MQTTAddr(); a.IsValid() {
		all = append(all, "mqtt", a.String())
	}
	if a := n.gateway.MQTTSecureAddr(); a.IsValid() {
		all = append(all, "mqtts", a.String())
	}
	if dir := n.config.Store.Path; dir != "" {
		all = append(all, "data", dir)
	}
	return all
}

// config returns the configuration: the file, changed by the environment, then by the flags.
func (s *Serve) config(environ []string) (c config.Config, err error) {
	if s.Config != "" {
		var otherwise config.Config
		if err := s.change(&otherwise, environ); err != nil {
			return c, err
		}
		// The rest of the file may need these.
		otherwise = config.Config{
			Store:    store.Options{Path: otherwise.Store.Path},
			Gateway:  gateway.Config{Listen: otherwise.Gateway.Listen, URL: otherwise.Gateway.URL},
			Register: registry.Register{Address: otherwise.Register.Address},
		}
		if c, err = config.LoadWith(s.Config, otherwise, func(config.Config) error { return nil }); err != nil {
			return c, err
		}
	}
	if err := s.change(&c, environ); err != nil {
		return c, err
	}
	err = c.Check()
	return c.WithDefaults(), err
}

// change sets what the environment and the flags say.
func (s *Serve) change(c *config.Config, environ []string) error {
	if err := c.SetFrom(environ); err != nil {
		return err
	}
	for _, each := range s.Set {
		key, value, ok := strings.Cut(each, "=")
		if !ok {
			return fmt.Errorf("--set %s: want KEY=VALUE, such as gateway.heartbeat=10s", key)
		}
		if err := c.Set("--set", key, value); err != nil {
			return err
		}
	}
	if s.Listen != "" {
		c.Gateway.Listen = s.Listen
	}
	if s.MQTT != "" {
		c.Gateway.MQTT.Listen = s.MQTT
	}
	if s.Admin != "" {
		c.API.Address = s.Admin
	}
	if s.Data != "" {
		c.Store.Path = s.Data
	}
	c.Gateway.Insecure = c.Gateway.Insecure || s.Insecure || s.Anywhere
	c.Gateway.ForceInsecure = c.Gateway.ForceInsecure || s.Anywhere
	return nil
}

// drain leaves the registries, closes the devices and then the admin port. It gives up after timeout, or at the next signal.
func (n *node) drain(console *Console, log *slog.Logger, timeout time.Duration) error {
	defer n.close()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	ctx, stop := console.NotifyContext(ctx)
	defer stop()
	log.Info("draining", "deadline", timeout)
	n.leave(ctx, min(leaveTime, timeout/4))
	devices, done := context.WithTimeout(ctx, timeout*9/10) // the rest is for readers at the admin port
	err := n.drainDevices(devices)
	done()
	if err != nil && !errors.Is(err, context.Canceled) {
		log.Warn("drain incomplete", "error", err)
	}
	if err := n.server.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		log.Warn("admin port: requests were cut off", "error", err)
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		n.cutShort.Store(true)
		log.Warn("stopped at once, by a second signal")
		return &exitError{code: exitCutShort}
	}
	log.Info("stopped")
	return nil
}
