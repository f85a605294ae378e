package gateway

import (
	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/reactor"
)

var (
	refusals       = describe("connections_refused_total", "Connections refused by a limit of the node, by reason.", "reason")
	prefixOnline   = describe("prefix_devices", "Connected devices of each prefix that has a limit.", "prefix")
	crowded        = describe("connections_crowded_total", "Connections closed without reading them, because there were far more than max_connections.")
	sourceCount    = describe("source_addresses", "Source addresses with connections; 0 when addresses have no limit.")
	waiting        = describe("connect_line", "Connections that wait for their turn, by class.", "class")
	turns          = describe("connect_turns_total", "Connections by how the connect rate treated them.", "outcome")
	slowed         = describe("readers_slowed_total", "Times that a device was not read for a while, by reason.", "reason")
	unverified     = describe("unverified_bytes", "Bytes of unfinished handshakes and CONNECTs.")
	owedBytes      = describe("owed_bytes", "Bytes of kept messages: in queues, in lines, retained, and wills.")
	owedLimit      = describe("owed_limit_bytes", "Limit of owed_bytes.")
	memoryUsed     = describe("memory_used_bytes", "Memory in use, which the watermarks are compared with.")
	memoryLimit    = describe("memory_limit_bytes", "Memory of which the watermarks are percentages.")
	memoryStage    = describe("overload_stage", "What the node does to save memory: 0 nothing, 1 slows readers, 2 refuses new connections, 3 sheds QoS 0, 4 closes slow consumers.")
	memoryUnread   = describe("memory_failures_total", "Times that the use of memory could not be read.")
	jobs           = describe("jobs", "Jobs of the bounded worker pools, by pool and state.", "pool", "state")
	jobsRefused    = describe("jobs_refused_total", "Jobs refused because the line of their pool was full.", "pool")
	verifications  = describe("verifications_total", "Credentials verified, by method and outcome.", "method", "outcome")
	breakerState   = describe("breaker_state", "Circuit breakers of remote services: 1 for the current state of each.", "breaker", "state")
	connectOutcome = [...]string{"at_once", "late", "left", "refused"}
)

// collectLimits exports the counters of the limits.
func (g *Gateway) collectLimits(t *door.Tally, gauge func(metric, float64, ...string), count func(metric, uint64, ...string)) {
	for _, label := range door.RefusalLabels {
		count(refusals, t.Refusals[label], label)
	}
	for why, label := range door.SlowingLabels {
		count(slowed, t.Slowed[why], label)
	}
	s := g.door.Stats()
	gauge(sourceCount, float64(s.Connections.Addresses))
	for prefix, n := range s.Connections.Prefixes {
		gauge(prefixOnline, float64(n), prefix)
	}
	gauge(waiting, float64(s.Line.Waiting[limit.Resumed]), "resumed")
	gauge(waiting, float64(s.Line.Waiting[limit.New]), "new")
	for i, n := range [...]uint64{s.Line.AtOnce, s.Line.Late, s.Line.Left, s.Line.SentAway} {
		count(turns, n, connectOutcome[i])
	}
	gauge(unverified, float64(s.Unverified))
	owed, most := g.config.Account.Bytes()
	gauge(owedBytes, float64(owed))
	gauge(owedLimit, float64(most))
	gauge(memoryUsed, float64(s.Memory.Used))
	gauge(memoryLimit, float64(s.Memory.Limit))
	gauge(memoryStage, float64(s.Stage))
	count(memoryUnread, s.MemoryUnread)
	collectWorkers(g.keeper, &s, gauge, count)
	collectVerifiers(&s, gauge, count)
}

// collectWorkers exports the counters of the worker pools.
func collectWorkers(k *door.Keeper, s *door.Stats, gauge func(metric, float64, ...string), count func(metric, uint64, ...string)) {
	pool := func(name string, s reactor.WorkersStats) {
		gauge(jobs, float64(s.Running), name, "running")
		gauge(jobs, float64(s.Resting), name, "resting")
		gauge(jobs, float64(s.Waiting), name, "waiting")
		count(jobsRefused, s.Refused, name)
	}
	if k != nil {
		pool("tls", k.Stats())
	}
	if s.Verifying {
		pool("verification", s.Workers)
	}
}

// breakerStates are all states of a breaker.
var breakerStates = []string{"closed", "half-open", "open"}

// collectVerifiers exports the counters of the verifiers, and the states of the breakers of remote ones.
func collectVerifiers(s *door.Stats, gauge func(metric, float64, ...string), count func(metric, uint64, ...string)) {
	for _, s := range s.Verifiers {
		count(verifications, s.Accepted, s.Method, "accepted")
		count(verifications, s.Refused, s.Method, "refused")
		count(verifications, s.Unavailable, s.Method, "unavailable")
		if s.Method == "basic" {
			count(verifications, s.Guessing, s.Method, "guessing")
		}
	}
	for name, is := range s.Breakers {
		for _, state := range breakerStates {
			gauge(breakerState, gauge01(state == is), name, state)
		}
	}
}
