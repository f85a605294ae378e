package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/longline/longline/internal/api"
	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/config"
	"github.com/longline/longline/internal/gateway"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/store"
)

// node is one gateway process: every layer, put together.
type node struct {
	files    *reload.Watcher
	store    store.Store
	ids      *store.IDs  // nil when the node remembers nothing
	audit    *auditFile  // nil without one
	devices  *auth.Chain // nil when they are not asked for credentials
	sessions *session.Manager
	gateway  *gateway.Gateway
	server   *api.Server
	failed   chan error // holds the admin port's error, if it ends by one
}

// startNode opens the device port, then the admin port.
func startNode(ctx context.Context, c config.Config, log *slog.Logger, stderr io.Writer) (_ *node, err error) {
	account := new(message.Account)
	c.Store.Account, c.Router.Account, c.Gateway.Account = account, account, account
	n := &node{files: reload.Start(), store: store.NewMemory(c.Store), failed: make(chan error, 1)}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if err = n.startIDs(c.Node, log); err != nil {
		return nil, err
	}
	r := router.New(c.Router, n.store)
	if n.sessions, err = session.NewManager(c.Sessions, r, n.store); err != nil {
		return nil, err
	}
	if len(c.Auth.Order) > 0 && !c.Gateway.Insecure {
		c.Auth.RememberProven = c.Gateway.Limits.Connect.PerSecond > 0
		if n.devices, err = auth.Open(c.Auth, n.files); err != nil {
			return nil, fmt.Errorf("auth.%w", err)
		}
		c.Gateway.Auth = n.devices
	}
	if n.gateway, err = gateway.Start(c.Gateway, r, n.sessions); err != nil {
		return nil, err
	}
	metrics := prometheus.NewRegistry()
	requests := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "longline_api_request_duration_seconds",
		Help:    "Time that the backend API took for a request, streams left out.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 4, 10),
	}, []string{"procedure", "code"})
	metrics.MustRegister(n.gateway, requests, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	door, err := n.openDoor(c.API, log, stderr)
	if err != nil {
		return nil, err
	}
	backend := api.New(fit(c, log), api.Node{
		Roles:       door.roles,
		Certificate: door.certificate,
		Audit:       door.audit,
		Devices:     n.sessions.Local(n.gateway.Peers),
		Router:      r,
		Gateway:     n.gateway,
		Metrics:     promhttp.HandlerFor(metrics, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}),
		Observe: func(procedure, code string, seconds float64) {
			if !strings.HasSuffix(strings.ToLower(procedure), "/subscribe") { // lasts as long as its reader
				requests.WithLabelValues(procedure, code).Observe(seconds)
			}
		},
		Log: log,
	})
	metrics.MustRegister(n.doorMetrics(backend)...)
	if n.server, err = api.Listen(ctx, backend); err != nil {
		return nil, fmt.Errorf("admin port: %w", err)
	}
	go func() {
		if err := n.server.Serve(); err != nil {
			n.failed <- err
		}
	}()
	return n, nil
}

// startIDs has the node's message IDs come from its state directory, or by its clock.
func (n *node) startIDs(c config.Node, log *slog.Logger) (err error) {
	var ranges message.Ranges = message.NewClock(uint16(c.Number))
	if c.State != "" {
		if n.ids, err = store.OpenIDs(c.State, uint16(c.Number)); err != nil {
			return fmt.Errorf("node.state: %w", err)
		}
		ranges = n.ids
	}
	err = message.StartIDs(ranges, func(err error) {
		log.Error("no further message IDs: publications will be refused when those that are left are used", "error", err)
	})
	if err != nil {
		return fmt.Errorf("node.state: %w", err)
	}
	return nil
}

// doorMetrics are those of the admin port.
func (n *node) doorMetrics(backend *api.API) []prometheus.Collector {
	counter := func(name, help string, value func() uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
	}
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "longline_api_connections",
			Help: "Connections of the admin port.",
		}, func() float64 { return float64(backend.PortStats().Connections) }),
		counter("longline_api_connections_closed_total", "Connections of the admin port that were closed to make room for others.",
			func() uint64 { return backend.PortStats().Closed }),
		counter("longline_api_requests_reset_total", "Requests without a good token that were reset, as their connection had too many of them.",
			func() uint64 { return backend.PortStats().Reset }),
		counter("longline_api_pages_refused_total", "Requests of web pages that may not call the admin port.",
			func() uint64 { return backend.PortStats().Pages }),
		counter("longline_audit_failures_total", "Lines that the audit log could not be given whole.", func() uint64 {
			if n.audit == nil {
				return 0
			}
			return n.audit.failures.Load()
		}),
	}
}

// close ends what was started and is still there.
func (n *node) close() {
	if n.gateway != nil {
		n.gateway.Close()
	}
	if n.sessions != nil {
		n.sessions.Close()
	}
	if n.devices != nil {
		n.devices.Close()
	}
	if n.audit != nil {
		_ = n.audit.Close() // appended to without a buffer
	}
	_ = n.store.Close() // memory: nothing to lose
	if n.ids != nil {
		_ = n.ids.Close() // each reservation was synced
	}
	n.files.Close()
}
