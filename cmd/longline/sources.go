package main

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/longline/longline/internal/command"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/source"
	"github.com/longline/longline/internal/source/feed"
)

// openSources starts to take records from systems behind.
func (n *node) openSources(context.Context) (err error) {
	n.sources, err = source.Open(n.config.Sources, source.Options{
		Number: uint16(n.config.Node.Number), Loops: n.loops, Log: n.log,
		Node: feed.Node{
			Publish: n.router.PublishThen,
			Broadcast: func(_ context.Context, m *message.Message, filter string, done func(error)) {
				n.sessions.BroadcastThen(m, filter, done)
			},
			Command: func(_ context.Context, r *command.Request, ttl time.Duration, done func(error)) {
				n.commands.CreateThen(r, ttl, done)
			},
			Topics: n.config.Sessions.Topics, MaxPayload: n.config.API.MaxPayload, Commands: n.commands.Config(),
		},
	})
	if err != nil {
		return fmt.Errorf("sources.%w", err)
	}
	n.undo = append(n.undo, n.sources.Close)
	return nil
}

// sourceMetrics reads the counters of the sources once per scrape.
type sourceMetrics struct{ sources *source.Set }

// sourceMetric is a metric of each source.
type sourceMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(feed.Stats) float64
}

func ofSource(kind prometheus.ValueType, name, help string, value func(feed.Stats) float64) sourceMetric {
	return sourceMetric{prometheus.NewDesc("longline_source_"+name, help, []string{"source"}, nil), kind, value}
}

var (
	sourceState   = prometheus.NewDesc("longline_source_state", "1 for the state that a source has: running, failing or stopped.", []string{"source", "state"}, nil)
	sourceDropped = prometheus.NewDesc("longline_source_dropped_total", "Records that a source left out by itself, and headers of records (header_no_text, header_no_room).", []string{"source", "reason"}, nil)
	sourceStates  = []feed.State{feed.Running, feed.Failing, feed.Stopped}
)

var eachSourceMetrics = []sourceMetric{
	ofSource(prometheus.GaugeValue, "lag_records", "Records that wait on the other side, and those that are taken and not done; -1 if it does not tell.",
		func(s feed.Stats) float64 { return float64(s.Lag) }),
	ofSource(prometheus.GaugeValue, "in_flight_records", "Records that are taken and not done. At in_flight the other side is not read.",
		func(s feed.Stats) float64 { return float64(s.InFlight) }),
	ofSource(prometheus.GaugeValue, "in_flight_bytes", "Bytes of these records. At in_flight_bytes the other side is not read.",
		func(s feed.Stats) float64 { return float64(s.Bytes) }),
	ofSource(prometheus.CounterValue, "taken_total", "Records that came; after a failure some come again.",
		func(s feed.Stats) float64 { return float64(s.Taken) }),
	ofSource(prometheus.CounterValue, "done_total", "Records of which something was made, and is safe.",
		func(s feed.Stats) float64 { return float64(s.Done) }),
	ofSource(prometheus.CounterValue, "filtered_total", "Records that where left out.",
		func(s feed.Stats) float64 { return float64(s.Filtered) }),
	ofSource(prometheus.CounterValue, "dead_total", "Records of which nothing could be made, and that became dead letters.",
		func(s feed.Stats) float64 { return float64(s.Dead) }),
	ofSource(prometheus.CounterValue, "failures_total", "How often the other side or the node has failed, so that records had to come again.",
		func(s feed.Stats) float64 { return float64(s.Failures) }),
}

// Describe implements prometheus.Collector.
func (sourceMetrics) Describe(descs chan<- *prometheus.Desc) {
	descs <- sourceState
	descs <- sourceDropped
	for _, m := range eachSourceMetrics {
		descs <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c sourceMetrics) Collect(metrics chan<- prometheus.Metric) {
	for _, one := range c.sources.All() {
		s := one.Stats()
		for _, m := range eachSourceMetrics {
			metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s), one.Name())
		}
		for reason, n := range s.Dropped {
			metrics <- prometheus.MustNewConstMetric(sourceDropped, prometheus.CounterValue, float64(n), one.Name(), reason)
		}
		for _, state := range sourceStates {
			metrics <- prometheus.MustNewConstMetric(sourceState, prometheus.GaugeValue, oneIf(state == s.State), one.Name(), string(state))
		}
	}
}
