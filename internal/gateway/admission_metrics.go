package gateway

import "github.com/prometheus/client_golang/prometheus"

var (
	judgements   = describe("verifications_total", "Credentials verified, by verifier and outcome.", "method", "outcome")
	authBreakers = describe("auth_breaker", "State of the circuit breakers in front of what is asked about credentials: 1 for the one it is in.", "breaker", "state")
)

// collect exports what the verifiers have counted.
func (a *admission) collect(ch chan<- prometheus.Metric) {
	if a.chain == nil {
		return
	}
	for _, s := range a.chain.Stats() {
		for outcome, n := range map[string]uint64{"accepted": s.Accepted, "refused": s.Refused, "unavailable": s.Unavailable} {
			ch <- prometheus.MustNewConstMetric(judgements, prometheus.CounterValue, float64(n), s.Method, outcome)
		}
	}
	for name, state := range a.chain.Breakers() {
		ch <- prometheus.MustNewConstMetric(authBreakers, prometheus.GaugeValue, 1, name, state)
	}
}
