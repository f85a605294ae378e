package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/longline/longline/internal/api"
	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/bridge"
	"github.com/longline/longline/internal/cluster"
	"github.com/longline/longline/internal/command"
	"github.com/longline/longline/internal/config"
	"github.com/longline/longline/internal/gateway"
	"github.com/longline/longline/internal/ledger"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/model"
	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/sink"
	"github.com/longline/longline/internal/source"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/disk"
	"github.com/longline/longline/internal/stream"
)

// node is one gateway process: it joins all layers.
type node struct {
	// Static after construction.
	config config.Config
	log    *slog.Logger
	stderr io.Writer

	// Set by the steps of startNode, in this order.
	files    *reload.Watcher
	cluster  *cluster.Node // nil if the node is alone
	shared   *shared       // likewise
	balancer *balancer     // likewise
	services *service.Set
	store    wholeStore
	disk     *disk.Store // the same, nil when all is in memory
	ids      *store.IDs  // nil when the node remembers nothing, or has its IDs from Redis
	commands *command.Manager
	router   *router.Router
	streams  *stream.Set
	models   *model.Set
	sessions *session.Manager
	loops    *bridge.Loops
	sinks    *sink.Set
	sources  *source.Set
	ledger   *ledger.Keeper
	devices  *auth.Chain // nil if devices are asked for no credentials
	gateway  *gateway.Gateway
	audit    *auditFile // nil without one
	door     door
	server   *api.Server

	nodes        *registry.Nodes                       // nil if the device port does not list nodes
	registration atomic.Pointer[registry.Registration] // nil if the gateway registers itself nowhere
	leaving      atomic.Bool                           // the node has begun to end
	cutShort     atomic.Bool                           // it is to end at once

	undo   []func()   // each undoes a step, in the order of the steps
	failed chan error // gets why the node cannot go on: the admin port's error, or the cluster's
}

// openDisk is disk.Open, unless a test puts a layer under the store.
var openDisk = disk.Open

// wholeStore is both sides of a store.
type wholeStore interface {
	store.Store
	store.Opener
}

// startNode runs the steps that make a node. If one fails, startNode undoes those before it.
func startNode(ctx context.Context, c config.Config, log *slog.Logger, stderr io.Writer) (*node, error) {
	n := &node{config: c, log: log, stderr: stderr, failed: make(chan error, 1)}
	for _, step := range []func(context.Context) error{
		n.watchFiles,
		n.joinCluster,
		n.openServices,
		n.openStore,
		n.startIDs,
		n.openStreams,
		n.openModels,
		n.openCommands,
		n.openSessions,
		n.startCluster,
		n.openLoops,
		n.openSinks,
		n.openSources,
		n.openLedger,
		n.openVerifiers,
		n.openDevicePort,
		n.followRevocations,
		n.startBalancer,
		n.openDoor,
		n.openAdminPort,
		n.listNodes,
		n.register,
	} {
		if err := step(ctx); err != nil {
			n.close()
			return nil, err
		}
	}
	return n, nil
}

// close undoes the steps, last step first.
func (n *node) close() {
	for _, undo := range slices.Backward(n.undo) {
		undo()
	}
	n.undo = nil
}

func (n *node) watchFiles(context.Context) error {
	n.files = reload.Start()
	n.undo = append(n.undo, n.files.Close)
	return nil
}

// openServices begins to look for the instances of services. Calls of them wait until they are known.
func (n *node) openServices(context.Context) (err error) {
	o := service.Options{Node: strconv.Itoa(n.config.Node.Number), Watcher: n.files, Log: n.log}
	if n.services, err = service.OpenSet(n.config.Services, o); err != nil {
		return fmt.Errorf("services.%w", err)
	}
	n.config.Sessions.Services = n.services
	n.undo = append(n.undo, n.services.Close)
	return nil
}

func (n *node) openStore(ctx context.Context) error {
	account := new(message.Account)
	n.config.Store.Account, n.config.Router.Account, n.config.Gateway.Account = account, account, account
	path := n.config.Store.Path
	if path == "" {
		n.store = store.NewMemory(n.config.Store)
		n.undo = append(n.undo, func() { _ = n.store.Close() }) // it is in memory: there is nothing to lose
		return n.openSharedStore(ctx)
	}
	var err error
	if n.disk, err = openDisk(n.config.Store, disk.Options{Path: path, Log: n.log}); err != nil {
		return fmt.Errorf("store.path: %w", err)
	}
	n.store = n.disk
	n.undo = append(n.undo, func() {
		if err := n.disk.Close(); err != nil {
			n.log.Error("the store is not closed in order: the next start goes on from its journal", "error", err)
		}
	})
	return n.openSharedStore(ctx)
}

// startIDs makes the node take message IDs from its state directory, or from its clock if it has none.
func (n *node) startIDs(context.Context) (err error) {
	if n.cluster != nil {
		return n.startSharedIDs()
	}
	c := n.config.Node
	var ranges message.Ranges = message.NewClock(uint16(c.Number))
	if c.State != "" {
		if n.ids, err = store.OpenIDs(c.State, uint16(c.Number)); err != nil {
			return fmt.Errorf("node.state: %w", err)
		}
		n.undo = append(n.undo, func() { _ = n.ids.Close() }) // each reservation was synced
		ranges = n.ids
	}
	err = message.StartIDs(ranges, func(err error) {
		n.log.Error("no more message IDs can be reserved: publications will be refused when the reserved ones are used up", "error", err)
	})
	if err != nil {
		return fmt.Errorf("node.state: %w", err)
	}
	return nil
}

// openCommands takes the commands that the store has. They are sent from openSessions on.
func (n *node) openCommands(context.Context) error {
	found, err := n.store.TakeValues(store.SpaceCommand)
	if err != nil {
		return fmt.Errorf("commands: %w", err)
	}
	n.commands = command.Open(n.config.Commands, n.store, found, n.log)
	n.config.Sessions.Commands = n.commands
	n.undo = append(n.undo, n.commands.Close)
	return nil
}

// openStreams makes the router and the streams, which get messages from now on.
func (n *node) openStreams(context.Context) error {
	n.config.Router.Read = n.store.Read
	n.router = router.New(n.config.Router, n.store)
	n.undo = append(n.undo, n.closeLedger)
	places, err := n.store.TakeValues(store.SpacePlace)
	if err != nil {
		return fmt.Errorf("store.path: %w", err)
	}
	dir := ""
	if n.config.Store.Path != "" {
		dir = filepath.Join(n.config.Store.Path, "streams")
	}
	o := stream.Options{
		Router: n.router, Store: n.store, Places: places, Log: n.log, MaxRecord: n.config.MaxRecord(),
		Stall: n.config.Store.Stall, Reserve: int64(n.config.Store.Reserve) / 2,
	}
	if n.disk != nil {
		if second := n.disk.Second(); second.Path != "" {
			o.Second, o.SecondLeaves = filepath.Join(second.Path, "streams"), second.Leaves
		}
	}
	n.streams, err = stream.Open(dir, n.config.Streams, o)
	if err != nil {
		return fmt.Errorf("streams.%w", err)
	}
	n.undo = append(n.undo, func() {
		if err := n.streams.Close(); err != nil {
			n.log.Error("a stream is not closed in order: what was acknowledged is there", "error", err)
		}
	})
	return nil
}

// openModels begins to ask models about messages.
func (n *node) openModels(context.Context) (err error) {
	n.models, err = model.OpenSet(n.config.Models, model.Options{
		Services: n.services, Router: n.router, Node: uint16(n.config.Node.Number), Watcher: n.files, Log: n.log,
	})
	if err != nil {
		return fmt.Errorf("models.%w", err)
	}
	n.undo = append(n.undo, n.models.Close)
	return nil
}

func (n *node) openSessions(context.Context) (err error) {
	if n.sessions, err = session.NewManager(n.config.Sessions, n.router, n.store, n.store); err != nil {
		return err
	}
	n.undo = append(n.undo, n.sessions.Close)
	if n.cluster != nil {
		n.commands.InCluster(n.cluster.Idle)
	}
	n.commands.Start(n.sessions)
	return nil
}

// openLedger begins the ledger. openStreams says how it is undone.
func (n *node) openLedger(context.Context) error {
	saved, err := n.store.TakeValues(store.SpaceLedger)
	if err != nil {
		return err
	}
	o := ledger.Options{
		Sources: []func(context.Context, *ledger.Node) error{n.sessions.AddLedger, n.router.AddLedger},
		Saved:   saved[ledgerKey],
		Log:     n.log,
	}
	if n.store.Durable() {
		o.Save = func(life []byte) { n.store.Put(store.SpaceLedger, ledgerKey, life) }
	}
	n.ledger = ledger.Start(o)
	return nil
}

// closeLedger ends the ledger, when the sessions and the streams have ended: what waits then is what the next life finds.
// There may be none yet.
func (n *node) closeLedger() {
	if n.ledger != nil {
		n.ledger.Close()
	}
}

// ledgerKey is the key of the one value in store.SpaceLedger.
const ledgerKey = "node"

func (n *node) openVerifiers(context.Context) (err error) {
	if len(n.config.Auth.Order) == 0 || n.config.Gateway.Insecure {
		return nil
	}
	n.config.Auth.Services = n.services
	n.config.Auth.RememberProven = n.config.Gateway.Limits.Connect.PerSecond > 0
	if n.devices, err = auth.Open(n.config.Auth, n.files); err != nil {
		return fmt.Errorf("auth.%w", err)
	}
	n.undo = append(n.undo, n.devices.Close)
	return nil
}

func (n *node) openDevicePort(context.Context) (err error) {
	n.config.Gateway.Auth = n.devices
	if n.config.Gateway.Nodes {
		n.nodes = registry.NewNodes()
		n.config.Gateway.NodeList = n.nodes.List
	}
	if n.cluster != nil {
		n.config.Gateway.Together = true
		n.config.Gateway.DrainDelay = cmp.Or(n.config.Gateway.DrainDelay, 5*time.Second)
	}
	if n.gateway, err = gateway.Start(n.config.Gateway, n.router, n.sessions); err != nil {
		return err
	}
	n.undo = append(n.undo, n.gateway.Close)
	return nil
}

// checks returns the checks that must pass for the node to take devices. /readyz shows them.
func (n *node) checks() []api.Check {
	return []api.Check{
		{Name: "devices", Failed: func() error {
			if n.leaving.Load() || !n.gateway.Ready() {
				return errors.New("the node is draining")
			}
			return nil
		}},
		{Name: "store", Failed: n.storeFailed},
		{Name: "streams", Failed: n.streams.Err},
		{Name: "cluster", Failed: n.clusterFailed},
	}
}

func (n *node) storeFailed() error {
	if n.disk != nil {
		return n.disk.Ready()
	}
	return n.store.Err()
}

// scrapesAtOnce bounds the requests for metrics that are answered at a time: each looks at all consumers of all streams on the disk.
const scrapesAtOnce = 8

func (n *node) openAdminPort(ctx context.Context) (err error) {
	metrics := prometheus.NewRegistry()
	requests := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "longline_api_request_duration_seconds",
		Help:    "Time that the backend API took for a request, except those that last as long as their client listens.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 4, 10),
	}, []string{"procedure", "code"})
	metrics.MustRegister(n.gateway, requests, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	parts := api.Node{
		Roles:       n.door.roles,
		Certificate: n.door.certificate,
		Audit:       n.door.audit,
		Devices:     n.sessions.Local(n.gateway.Peers),
		Router:      n.router,
		Streams:     n.streams,
		Services:    n.services,
		Sinks:       apiSinks{n.sinks},
		Gateway:     leavesFirst{n.gateway, n},
		Ledger:      n.ledger,
		Commands:    n.commands,
		Checks:      n.checks(),
		Store:       n.describeStore,
		Alone:       n.alone,
		Metrics: promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
			ErrorLog:            slog.NewLogLogger(n.log.Handler(), slog.LevelWarn),
			MaxRequestsInFlight: scrapesAtOnce,
		}),
		Observe: func(procedure, code string, seconds float64) {
			if !api.Lasts(procedure) {
				requests.WithLabelValues(procedure, code).Observe(seconds)
			}
		},
		Log: n.log,
	}
	n.otherNodes(&parts)
	backend := api.New(fit(n.config, n.log), parts)
	n.answerNodes(backend)
	metrics.MustRegister(n.clusterMetrics()...)
	metrics.MustRegister(n.doorMetrics(backend)...)
	metrics.MustRegister(n.storeMetrics()...)
	metrics.MustRegister(n.sharedStoreMetrics()...)
	metrics.MustRegister(streamCollector{n.streams})
	metrics.MustRegister(n.ledgerMetrics()...)
	metrics.MustRegister(commandMetrics{n.commands})
	metrics.MustRegister(serviceMetrics{n.services})
	metrics.MustRegister(sinkMetrics{n.sinks})
	metrics.MustRegister(sourceMetrics{n.sources})
	metrics.MustRegister(modelMetrics{n.models})
	metrics.MustRegister(registered{n})
	if n.server, err = api.Listen(ctx, backend); err != nil {
		return fmt.Errorf("admin port: %w", err)
	}
	go func() {
		if err := n.server.Serve(); err != nil {
			n.fail(fmt.Errorf("admin port: %w", err))
		}
	}()
	return nil
}

// doorMetrics returns the metrics of the admin port and the audit log.
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
		counter("longline_api_requests_reset_total", "Requests without a good token that were reset because their connection had too many of them.",
			func() uint64 { return backend.PortStats().Reset }),
		counter("longline_api_pages_refused_total", "Requests of web pages that may not call the admin port.",
			func() uint64 { return backend.PortStats().Pages }),
		counter("longline_audit_failures_total", "Lines that could not be written whole to the audit log.", func() uint64 {
			if n.audit == nil {
				return 0
			}
			return n.audit.failures.Load()
		}),
	}
}
