package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/longline/longline/internal/gateway"
	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/wire"
)

// listNodes begins the list of nodes that the device port shows.
func (n *node) listNodes(context.Context) error {
	if n.nodes == nil {
		return nil
	}
	url, err := n.deviceURL()
	if err != nil {
		return err
	}
	if err := n.nodes.Start(url, n.state, n.config.Register, n.files, n.log); err != nil {
		return fmt.Errorf("register.%w", err)
	}
	n.undo = append(n.undo, n.nodes.Close)
	return nil
}

// register registers the node, which takes devices from now on. It is the last step, so that the first thing that is undone is that others
// know the node.
func (n *node) register(context.Context) (err error) {
	if !n.config.Register.Given() {
		return nil
	}
	host, port, err := n.reach()
	if err != nil {
		return err
	}
	url, err := n.deviceURL()
	if err != nil {
		return err
	}
	self := registry.Self{Host: host, Port: port, TLS: n.secure(), Metadata: n.metadata(url)}
	r, err := registry.StartRegistration(n.config.Register, self, n.state, n.files, n.log)
	if err != nil {
		return fmt.Errorf("register.%w", err)
	}
	n.registration.Store(r)
	n.undo = append(n.undo, func() { n.leave(context.Background(), leaveTime) })
	return nil
}

// leaveTime is how long the registries may take to forget the node.
const leaveTime = 5 * time.Second

// leave makes the node not ready, and the registries forget it, so that nobody is sent here while it drains. It takes that time at
// most. A second call does nothing.
func (n *node) leave(ctx context.Context, most time.Duration) {
	if n.leaving.Swap(true) {
		return
	}
	if n.nodes != nil {
		n.nodes.Refresh()
	}
	r := n.registration.Load()
	if r == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	r.Leave(ctx)
}

// leavesFirst is the device port for the API, whose Drain leaves the registries as a signal does.
type leavesFirst struct {
	*gateway.Gateway
	node *node
}

// Drain implements api.Gateway.
func (g leavesFirst) Drain(ctx context.Context) error {
	g.node.leave(ctx, leaveTime)
	return g.node.drainDevices(ctx)
}

// state returns what changes of the node, for the registries.
func (n *node) state() registry.State {
	s := registry.State{Weight: registry.Weight(n.gateway.Load())}
	for _, check := range n.checks() {
		if err := check.Failed(); err != nil {
			s.Failed = err.Error()
			break
		}
	}
	return s
}

// secure reports whether the device port uses TLS.
func (n *node) secure() bool { return n.config.Gateway.TLS.Cert != "" }

// reach returns where others reach the device port.
func (n *node) reach() (host string, port uint16, err error) {
	listen, _, err := net.SplitHostPort(n.config.Gateway.Listen)
	if err != nil {
		return "", 0, err
	}
	port = n.gateway.Addr().Port() // gateway.listen may leave it to the kernel
	return n.config.Register.Reach(net.JoinHostPort(listen, strconv.Itoa(int(port))))
}

// deviceURL returns where devices connect.
func (n *node) deviceURL() (string, error) {
	if n.config.Gateway.URL != "" {
		return n.config.Gateway.URL, nil
	}
	host, port, err := n.reach()
	if err != nil {
		return "", err
	}
	scheme := "ws://"
	if n.secure() {
		scheme = "wss://"
	}
	return scheme + net.JoinHostPort(host, strconv.Itoa(int(port))), nil
}

// metadata returns what the node says of itself in registries.
func (n *node) metadata(url string) map[string]string {
	name, err := os.Hostname()
	if err != nil {
		name = strconv.Itoa(n.config.Node.Number)
	}
	protocols := append([]string{wire.JSON.Name(), wire.Protobuf.Name(), "mqtt"}, n.config.Gateway.RawProtocols...)
	meta := map[string]string{
		registry.MetaURL: url,
		"node":           name,
		"protocols":      strings.Join(protocols, ","),
		"version":        moduleVersion(),
		"tls":            strconv.FormatBool(n.secure()),
	}
	if a := n.gateway.MQTTAddr(); a.IsValid() {
		meta["mqtt_port"] = strconv.Itoa(int(a.Port()))
	}
	if a := n.gateway.MQTTSecureAddr(); a.IsValid() {
		meta["mqtts_port"] = strconv.Itoa(int(a.Port()))
	}
	return meta
}

// registered exports in which registries the node is.
type registered struct{ node *node }

var registeredDesc = prometheus.NewDesc("longline_registered", "1 if the registry knows the gateway, as far as its last answer said.", []string{"registry"}, nil)

// Describe implements prometheus.Collector.
func (r registered) Describe(to chan<- *prometheus.Desc) { to <- registeredDesc }

// Collect implements prometheus.Collector.
func (r registered) Collect(to chan<- prometheus.Metric) {
	registration := r.node.registration.Load()
	if registration == nil {
		return
	}
	for name, known := range registration.Registered() {
		value := 0.0
		if known {
			value = 1
		}
		to <- prometheus.MustNewConstMetric(registeredDesc, prometheus.GaugeValue, value, name)
	}
}
