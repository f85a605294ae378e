package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/longline/longline/internal/service"
)

// serviceMetrics reads what is known of the services once per scrape.
type serviceMetrics struct{ services *service.Set }

// instancesShown bounds the instances of a service that have metrics of their own.
const instancesShown = 100

func serviceDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("longline_service_"+name, help, append([]string{"service"}, labels...), nil)
}

var (
	serviceCalls     = serviceDesc("calls_total", "Calls that have ended, by result: ok, refused (with a code of the service's own), or one of the gateway's codes.", "result")
	serviceDuration  = serviceDesc("call_duration_seconds", "Time that calls took, with waiting and repetitions, except those that were refused as busy.")
	serviceUnderWay  = serviceDesc("calls_under_way", "Calls that have no answer yet.")
	serviceWaiting   = serviceDesc("calls_waiting", "Calls that wait for one of the service's places, or for a backend.")
	serviceRepeated  = serviceDesc("repeated_total", "Repetitions of calls on another instance or backend.")
	serviceEjections = serviceDesc("ejections_total", "Times that an instance was left out because it had failed again and again.")
	serviceBreaker   = serviceDesc("breaker_state", "1 for the state that the circuit breaker has.", "state")
	serviceFailing   = serviceDesc("registry_failing", "1 while the instances cannot be looked up, or some are left out of the answer.")
	serviceInstances = serviceDesc("instances", "Instances that are known.")
	serviceBackends  = serviceDesc("backends", "Streams on which backends serve the service.")

	instanceCalls    = serviceDesc("instance_calls_total", "Calls of an instance that have ended with an answer or a failure.", "instance")
	instanceFailures = serviceDesc("instance_failures_total", "Calls of an instance that it has failed.", "instance")
	instanceUnderWay = serviceDesc("instance_calls_under_way", "Calls of an instance that have no answer yet.", "instance")
	instanceLatency  = serviceDesc("instance_latency_seconds", "Latency as it counts when an instance is chosen.", "instance")
	instanceLeftOut  = serviceDesc("instance_left_out", "1 while an instance is not called, because it fails calls or its probe.", "instance")
)

// Describe implements prometheus.Collector.
func (s serviceMetrics) Describe(all chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		serviceCalls, serviceDuration, serviceUnderWay, serviceWaiting, serviceRepeated, serviceEjections, serviceBreaker, serviceFailing, serviceInstances, serviceBackends,
		instanceCalls, instanceFailures, instanceUnderWay, instanceLatency, instanceLeftOut,
	} {
		all <- d
	}
}

// Collect implements prometheus.Collector.
func (s serviceMetrics) Collect(metrics chan<- prometheus.Metric) {
	for _, one := range s.services.All() {
		i := one.Info()
		gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
			metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, append([]string{i.Name}, labels...)...)
		}
		count := func(desc *prometheus.Desc, v uint64, labels ...string) {
			metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), append([]string{i.Name}, labels...)...)
		}
		for result, n := range i.Results {
			count(serviceCalls, n, result)
		}
		metrics <- durations(serviceDuration, i.Latency, i.Name)
		gauge(serviceUnderWay, float64(i.UnderWay))
		gauge(serviceWaiting, float64(i.Waiting))
		count(serviceRepeated, i.Repeated)
		if i.Serve {
			gauge(serviceBackends, float64(len(i.Backends)))
			continue
		}
		count(serviceEjections, i.Ejected)
		gauge(serviceBreaker, 1, i.Breaker)
		gauge(serviceFailing, oneIf(i.Problem != ""))
		gauge(serviceInstances, float64(len(i.Instances)))
		for _, o := range i.Instances[:min(len(i.Instances), instancesShown)] {
			count(instanceCalls, o.Calls, o.URL)
			count(instanceFailures, o.Failed, o.URL)
			gauge(instanceUnderWay, float64(o.UnderWay), o.URL)
			gauge(instanceLatency, o.Latency.Seconds(), o.URL)
			gauge(instanceLeftOut, oneIf(o.Unwell || !o.EjectedUntil.IsZero()), o.URL)
		}
	}
}

func durations(desc *prometheus.Desc, h service.Histogram, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(h.UpTo))
	for n, count := range h.UpTo {
		buckets[service.Bounds[n].Seconds()] = count
	}
	return prometheus.MustNewConstHistogram(desc, h.Count, h.Sum.Seconds(), buckets, labels...)
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
