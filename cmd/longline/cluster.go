package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/api"
	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/cluster"
	"github.com/longline/longline/internal/cluster/revoked"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/redisconn"
	storeredis "github.com/longline/longline/internal/store/redis"
)

// shared is what a node has in a cluster alone.
type shared struct {
	client  rueidis.Client
	link    *storeredis.Link
	ids     *storeredis.IDs
	store   *storeredis.Store
	revoked *revoked.List // nil if devices are asked for no credentials
}

// How long a node waits for Redis when it joins a cluster, and when it leaves.
const (
	joinTime         = 30 * time.Second
	leaveClusterTime = 5 * time.Second
)

// answersOfRedis is how large all texts of one answer may be: a read of the inbox brings many batches.
const answersOfRedis = 256 << 20

// joinCluster begins a life of this node in its cluster, if it is in one: from now on it has a number, and a name by which it owns devices.
func (n *node) joinCluster(ctx context.Context) (err error) {
	c := n.config.Cluster
	if c.Name == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	text := n.config.MaxRecord() + 2<<20
	dial, err := c.Redis.Dialer(n.files, redisconn.Bounds{Text: text, Answer: max(answersOfRedis, 64*text)})
	if err != nil {
		return fmt.Errorf("cluster.redis.%w", err)
	}
	s := new(shared)
	if s.client, err = dial(ctx); err != nil {
		return fmt.Errorf("cluster.redis: %w", err)
	}
	n.undo = append(n.undo, s.client.Close)
	s.link = storeredis.NewLink(s.client, c.Prefix(), c.Patience, n.log)
	n.undo = append(n.undo, s.link.Close)
	n.cluster, err = cluster.Join(ctx, c, cluster.Options{
		Client: s.client, Link: s.link, Patience: c.Patience, Version: moduleVersion(), Log: n.log,
		Failed: func(err error) { n.fail(fmt.Errorf("cluster: %w", err)) },
	})
	if err != nil {
		return err
	}
	n.undo = append(n.undo, n.leaveCluster)
	s.ids, err = storeredis.OpenIDs(ctx, s.link, c.Prefix(), n.cluster.OwnerName(), func() {
		if err := n.startSharedIDs(); err != nil {
			n.fail(err)
		}
	})
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	n.undo = append(n.undo, s.ids.Close)
	n.shared = s
	n.config.Node.Number = int(s.ids.Number())
	n.config.Router.Node = s.ids.Number()
	n.config.Router.Far = n.cluster
	n.config.Sessions.Owners = n.cluster
	return nil
}

// fail ends the process with an error, unless another one does already.
func (n *node) fail(err error) {
	select {
	case n.failed <- err:
	default:
	}
}

// leaveCluster lets other nodes take over what this one has. The store is closed, so everything is in Redis.
func (n *node) leaveCluster() {
	n.cluster.Close()
	ctx, cancel := context.WithTimeout(context.Background(), leaveClusterTime)
	defer cancel()
	if err := n.cluster.Leave(ctx); err != nil {
		n.log.Warn("the other nodes could not be told that this one ends: they take over its devices after cluster.lease", "error", err)
	}
}

// startSharedIDs takes message IDs from Redis.
func (n *node) startSharedIDs() error {
	return message.StartIDs(n.shared.ids, func(err error) {
		n.log.Error("no more message IDs can be reserved: publications will be refused when the reserved ones are used up", "error", err)
	})
}

// openSharedStore puts the store on Redis over that of this node, if it is in a cluster.
func (n *node) openSharedStore(ctx context.Context) (err error) {
	if n.cluster == nil {
		return nil
	}
	c := n.config.Cluster
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	n.shared.store, err = storeredis.Open(ctx, n.config.Store, storeredis.Options{
		Client: n.shared.client, Link: n.shared.link, Prefix: c.Prefix(), Node: c.Node, Owner: n.cluster.OwnerName(), Number: n.shared.ids.Number(),
		Patience: c.Patience, Position: n.cluster.Position, Redirect: n.cluster.Redirect, Lost: n.cluster.Lost, Log: n.log,
	}, n.store)
	if err != nil {
		return fmt.Errorf("cluster.redis: %w", err)
	}
	n.store = n.shared.store
	n.undo[len(n.undo)-1] = func() { // it closes the node's own store
		if err := n.store.Close(); err != nil {
			n.log.Error("the store is not closed in order: Redis may lack what was not acknowledged", "error", err)
		}
	}
	return nil
}

// startCluster takes part in the cluster from now on.
func (n *node) startCluster(ctx context.Context) error {
	if n.cluster == nil {
		return nil
	}
	n.cluster.Use(cluster.Parts{Router: n.router, Sessions: n.sessions, Store: n.shared.store, Commands: n.commands})
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	if err := n.cluster.Start(ctx); err != nil {
		return err
	}
	n.undo = append(n.undo, n.cluster.Close)
	return nil
}

// followRevocations keeps what is revoked the same on all nodes, and tells them where devices reach this one.
func (n *node) followRevocations(ctx context.Context) error {
	if n.cluster == nil {
		return nil
	}
	n.cluster.SetAddresses(n.deviceAddresses())
	if n.devices == nil {
		return nil
	}
	apply := func(b auth.Bearer, until time.Time) error {
		_, err := n.gateway.Revoke(b, until)
		return err
	}
	n.shared.revoked = revoked.Start(context.WithoutCancel(ctx), revoked.InRedis(n.shared.client, n.config.Cluster.Prefix()), apply, n.log)
	n.undo = append(n.undo, n.shared.revoked.Close)
	return nil
}

// deviceAddresses returns where devices reach the node, as far as that is known.
func (n *node) deviceAddresses() (all []string) {
	if url, err := n.deviceURL(); err == nil {
		all = append(all, url)
	}
	if a := n.config.Gateway.MQTT.Address; a != "" {
		all = append(all, mqttScheme+a)
	}
	return all
}

// otherNodes tells the API of the cluster, if there is one.
func (n *node) otherNodes(a *api.Node) {
	if n.cluster == nil {
		return
	}
	a.Cluster = n.cluster
	if n.shared.revoked != nil {
		a.Revocations = n.shared.revoked
	}
}

// answerNodes makes the API answer what other nodes ask.
func (n *node) answerNodes(a *api.API) {
	if n.cluster == nil {
		return
	}
	n.cluster.Answer(func(ctx context.Context, procedure string, request []byte) ([]byte, error) {
		return a.Answer(ctx, procedure, request), nil
	})
}

var errNotHeld = errors.New("the node has no contact with its cluster: messages with QoS 1 and 2 wait")

// clusterFailed returns why the node cannot take devices of its cluster now.
func (n *node) clusterFailed() error {
	if n.cluster == nil || n.cluster.Held() {
		return nil
	}
	return errNotHeld
}

// clusterMetrics are those of the cluster; none if the node is alone.
func (n *node) clusterMetrics() []prometheus.Collector {
	if n.cluster == nil {
		return nil
	}
	return []prometheus.Collector{clusterCollector{n.cluster}}
}

// clusterCollector shows what the cluster counts.
type clusterCollector struct{ cluster *cluster.Node }

// Describe implements prometheus.Collector: what Collect shows is checked then.
func (clusterCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c clusterCollector) Collect(metrics chan<- prometheus.Metric) {
	c.cluster.Stats(func(name, help string, counter bool, value float64) {
		kind := prometheus.GaugeValue
		if counter {
			kind = prometheus.CounterValue
		}
		metrics <- prometheus.MustNewConstMetric(prometheus.NewDesc("longline_cluster_"+name, help, nil, nil), kind, value)
	})
}
