package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/longline/longline/internal/sink"
	"github.com/longline/longline/internal/sink/pump"
)

// sinkMetrics reads the counters of the sinks once per scrape.
type sinkMetrics struct{ sinks *sink.Set }

// sinkMetric is a metric of each sink.
type sinkMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(pump.Stats) float64
}

func ofSink(kind prometheus.ValueType, name, help string, value func(pump.Stats) float64) sinkMetric {
	return sinkMetric{prometheus.NewDesc("longline_sink_"+name, help, []string{"sink"}, nil), kind, value}
}

var (
	sinkState   = prometheus.NewDesc("longline_sink_state", "1 for the state that a sink has: running, failing, paused or stopped.", []string{"sink", "state"}, nil)
	sinkBreaker = prometheus.NewDesc("longline_sink_breaker_state", "1 for the state that the circuit breaker of a sink has.", []string{"sink", "state"}, nil)
	sinkStates  = []string{pump.Running, pump.Failing, pump.Paused, pump.Stopped}
)

var eachSinkMetrics = []sinkMetric{
	ofSink(prometheus.GaugeValue, "lag_messages", "Messages of the stream that a sink is not done with.",
		func(s pump.Stats) float64 { return float64(s.End - min(s.Place, s.End)) }),
	ofSink(prometheus.GaugeValue, "ahead_messages", "Messages that a sink has read beyond its place.",
		func(s pump.Stats) float64 { return float64(s.Ahead) }),
	ofSink(prometheus.CounterValue, "sent_total", "Messages that the other side has confirmed.",
		func(s pump.Stats) float64 { return float64(s.Sent) }),
	ofSink(prometheus.CounterValue, "sent_bytes_total", "Bytes of these messages.",
		func(s pump.Stats) float64 { return float64(s.Bytes) }),
	ofSink(prometheus.CounterValue, "filtered_total", "Messages that are not for the sink.",
		func(s pump.Stats) float64 { return float64(s.Filtered) }),
	ofSink(prometheus.CounterValue, "dead_total", "Messages that could not be written, and became dead letters.",
		func(s pump.Stats) float64 { return float64(s.Dead) }),
	ofSink(prometheus.CounterValue, "dead_lost_total", "Of these, messages that became no dead letters, because they were too large or were some already.",
		func(s pump.Stats) float64 { return float64(s.DeadLost) }),
	ofSink(prometheus.CounterValue, "missed_total", "Messages that the stream had dropped before the sink read them.",
		func(s pump.Stats) float64 { return float64(s.Missed) }),
	ofSink(prometheus.CounterValue, "batches_total", "Batches that were sent, also those that failed.",
		func(s pump.Stats) float64 { return float64(s.Batches) }),
	ofSink(prometheus.CounterValue, "failures_total", "Batches that have to be sent again, because the other side failed.",
		func(s pump.Stats) float64 { return float64(s.Failures) }),
	ofSink(prometheus.CounterValue, "send_seconds_total", "Time that sending batches took.",
		func(s pump.Stats) float64 { return s.SendTime.Seconds() }),
	ofSink(prometheus.GaugeValue, "replaying", "1 while a replay is under way.",
		func(s pump.Stats) float64 { return oneIf(s.Replay != nil) }),
}

// Describe implements prometheus.Collector.
func (sinkMetrics) Describe(descs chan<- *prometheus.Desc) {
	descs <- sinkState
	descs <- sinkBreaker
	for _, m := range eachSinkMetrics {
		descs <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c sinkMetrics) Collect(metrics chan<- prometheus.Metric) {
	for _, one := range c.sinks.All() {
		s := one.Stats()
		for _, m := range eachSinkMetrics {
			metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s), one.Name())
		}
		for _, state := range sinkStates {
			metrics <- prometheus.MustNewConstMetric(sinkState, prometheus.GaugeValue, oneIf(state == s.State), one.Name(), state)
		}
		metrics <- prometheus.MustNewConstMetric(sinkBreaker, prometheus.GaugeValue, 1, one.Name(), s.Breaker)
	}
}
