package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/longline/longline/internal/stream"
)

// streamCollector reads the counters of the streams once per scrape.
type streamCollector struct{ streams *stream.Set }

// streamMetric is a metric of each stream, consumerMetric one of each consumer.
type (
	streamMetric struct {
		desc  *prometheus.Desc
		kind  prometheus.ValueType
		value func(stream.Info, stream.Stats) float64
	}
	consumerMetric struct {
		desc  *prometheus.Desc
		kind  prometheus.ValueType
		value func(stream.Consumer) float64
	}
)

func ofStream(kind prometheus.ValueType, name, help string, value func(stream.Info, stream.Stats) float64) streamMetric {
	return streamMetric{prometheus.NewDesc("longline_stream_"+name, help, []string{"stream"}, nil), kind, value}
}

func ofConsumer(kind prometheus.ValueType, name, help string, value func(stream.Consumer) float64) consumerMetric {
	return consumerMetric{prometheus.NewDesc("longline_stream_consumer_"+name, help, []string{"stream", "consumer"}, nil), kind, value}
}

var streamMetrics = []streamMetric{
	ofStream(prometheus.GaugeValue, "entries", "Messages that a stream has.",
		func(i stream.Info, _ stream.Stats) float64 { return float64(i.End - i.First) }),
	ofStream(prometheus.GaugeValue, "bytes", "Bytes on disk of the messages that a stream has.",
		func(i stream.Info, _ stream.Stats) float64 { return float64(i.Bytes) }),
	ofStream(prometheus.GaugeValue, "disk_bytes", "Bytes on disk of the files of a stream, which max_bytes bounds.",
		func(i stream.Info, _ stream.Stats) float64 { return float64(i.Disk) }),
	ofStream(prometheus.GaugeValue, "end", "Number of the next message of a stream; it does not descend.",
		func(i stream.Info, _ stream.Stats) float64 { return float64(i.End) }),
	ofStream(prometheus.GaugeValue, "readers", "Readers of a stream.",
		func(i stream.Info, _ stream.Stats) float64 { return float64(i.Readers) }),
	ofStream(prometheus.GaugeValue, "undelivered", "Publications that have no answer yet, because sinks of the stream are not done with them.",
		func(_ stream.Info, s stream.Stats) float64 { return float64(s.Undelivered) }),
	ofStream(prometheus.GaugeValue, "failing", "1 while a stream can make no message safe.",
		func(_ stream.Info, s stream.Stats) float64 {
			if s.Failed {
				return 1
			}
			return 0
		}),
	ofStream(prometheus.CounterValue, "messages_total", "Messages that a stream has taken since the start.",
		func(_ stream.Info, s stream.Stats) float64 { return float64(s.Journal.Records) }),
	ofStream(prometheus.CounterValue, "syncs_total", "Groups of messages that were written and synced.",
		func(_ stream.Info, s stream.Stats) float64 { return float64(s.Journal.Syncs) }),
	ofStream(prometheus.CounterValue, "sync_seconds_total", "Time that writing and syncing groups took.",
		func(_ stream.Info, s stream.Stats) float64 { return s.Journal.SyncTime.Seconds() }),
	ofStream(prometheus.CounterValue, "faults_total", "Writes and syncs that the disk failed; most are survived.",
		func(_ stream.Info, s stream.Stats) float64 { return float64(s.Journal.Faults) }),
	ofStream(prometheus.CounterValue, "full_total", "Messages that a stream did not take because it had no room.",
		func(_ stream.Info, s stream.Stats) float64 { return float64(s.Full) }),
	ofStream(prometheus.CounterValue, "refused_total", "Messages that a stream did not take because it could not make them safe.",
		func(_ stream.Info, s stream.Stats) float64 { return float64(s.Failing) }),
	ofStream(prometheus.CounterValue, "lost_messages_total", "Messages that were safe, and that the disk has spoilt.",
		func(_ stream.Info, s stream.Stats) float64 { return float64(s.Lost) }),
}

var consumerMetrics = []consumerMetric{
	ofConsumer(prometheus.GaugeValue, "lag_messages", "Messages that a consumer has not acknowledged.",
		func(c stream.Consumer) float64 { return float64(c.Lag.Messages) }),
	ofConsumer(prometheus.GaugeValue, "lag_bytes", "Bytes on disk of the messages that a consumer has not acknowledged.",
		func(c stream.Consumer) float64 { return float64(c.Lag.Bytes) }),
	ofConsumer(prometheus.GaugeValue, "lag_seconds", "Age of the oldest message that a consumer has not acknowledged.",
		func(c stream.Consumer) float64 { return c.Lag.Age.Seconds() }),
	ofConsumer(prometheus.CounterValue, "missed_total", "Messages that were dropped or spoilt before a consumer had acknowledged them.",
		func(c stream.Consumer) float64 { return float64(c.Missed) }),
}

// Describe implements prometheus.Collector.
func (c streamCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range streamMetrics {
		descs <- m.desc
	}
	for _, m := range consumerMetrics {
		descs <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c streamCollector) Collect(metrics chan<- prometheus.Metric) {
	for _, one := range c.streams.All() {
		info, stats := one.Info(), one.Stats()
		for _, m := range streamMetrics {
			metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(info, stats), info.Name)
		}
		for _, consumer := range info.Consumers {
			for _, m := range consumerMetrics {
				metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(consumer), info.Name, consumer.Name)
			}
		}
	}
}
