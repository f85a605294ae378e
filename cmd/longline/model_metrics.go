package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/longline/longline/internal/model"
)

// modelMetrics reads what is known of the models once per scrape.
type modelMetrics struct{ models *model.Set }

func modelDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("longline_model_"+name, help, append([]string{"model"}, labels...), nil)
}

var (
	modelMessages  = modelDesc("messages_total", "Messages that came to a model, by what became of them there: ok, unavailable, busy, refused, unfit, filling. All went on.", "result")
	modelCalls     = modelDesc("calls_total", "Calls of a model that have ended, by result: ok, refused, failed.", "result")
	modelAsked     = modelDesc("asked_total", "Messages in these calls; more than messages where calls were repeated for a part of them.")
	modelDuration  = modelDesc("call_duration_seconds", "Time that calls of a model took.")
	modelUnderWay  = modelDesc("calls_under_way", "Calls of a model that have no answer yet.")
	modelWaiting   = modelDesc("messages_waiting", "Messages in the queue of a model that publishes its answers.")
	modelBreaker   = modelDesc("breaker_state", "1 for the state that the circuit breaker has.", "state")
	modelWindows   = modelDesc("windows", "Windows that are remembered.")
	modelForgotten = modelDesc("windows_forgotten_total", "Windows that had to go for others.")
)

// Describe implements prometheus.Collector.
func (m modelMetrics) Describe(all chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		modelMessages, modelCalls, modelAsked, modelDuration, modelUnderWay, modelWaiting, modelBreaker, modelWindows, modelForgotten,
	} {
		all <- d
	}
}

// Collect implements prometheus.Collector.
func (m modelMetrics) Collect(metrics chan<- prometheus.Metric) {
	for _, one := range m.models.All() {
		i := one.Info()
		gauge := func(desc *prometheus.Desc, v int, labels ...string) {
			metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(v), append([]string{i.Name}, labels...)...)
		}
		count := func(desc *prometheus.Desc, v uint64, labels ...string) {
			metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), append([]string{i.Name}, labels...)...)
		}
		for result, n := range i.Messages {
			count(modelMessages, n, result)
		}
		for result, n := range i.Calls {
			count(modelCalls, n, result)
		}
		count(modelAsked, i.Rows)
		metrics <- durations(modelDuration, i.Latency, i.Name)
		gauge(modelUnderWay, i.UnderWay)
		gauge(modelWaiting, i.Waiting)
		gauge(modelBreaker, 1, i.Breaker)
		gauge(modelWindows, i.Windows)
		count(modelForgotten, i.Forgotten)
	}
}
