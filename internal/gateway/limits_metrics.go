package gateway

import (
	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/reactor"
)

var (
	refusals       = describe("connections_refused_total", "Connections refused by a limit of the node, by reason.", "reason")
	prefixOnline   = describe("prefix_devices", "Connected devices of each prefix that has a limit.", "prefix")
	crowded        = describe("connections_crowded_total", "Connections closed unheard because there were far more than max_connections.")
	sourceCount    = describe("source_addresses", "Source addresses with connections; 0 when they have no limit.")
	waiting        = describe("connect_line", "Connections that wait for their turn, by class.", "class")
	turns          = describe("connect_turns_total", "Connections by what the connect rate made of them.", "outcome")
	slowed         = describe("readers_slowed_total", "Times that a device was not read for a while, by reason.", "reason")
	unverified     = describe("unverified_bytes", "What unfinished handshakes and CONNECTs hold.")
	owedBytes      = describe("owed_bytes", "What messages take that are kept for somebody: queues, lines, retained.")
	owedLimit      = describe("owed_limit_bytes", "What they may take.")
	memoryUsed     = describe("memory_used_bytes", "Memory in use, as the watermarks see it.")
	memoryLimit    = describe("memory_limit_bytes", "Memory that the watermarks are percents of.")
	memoryStage    = describe("overload_stage", "How far the node goes to save memory: 0 calm, 1 readers are slowed, 2 new connections refused, 3 QoS 0 shed, 4 slow consumers closed.")
	memoryUnread   = describe("memory_failures_total", "Times that the use of memory could not be read.")
	jobs           = describe("jobs", "Jobs of the bounded workers, by pool and state.", "pool", "state")
	jobsRefused    = describe("jobs_refused_total", "Jobs that found a pool's line full.", "pool")
	verifications  = describe("verifications_total", "Credentials verified, by method and outcome.", "method", "outcome")
	breakerState   = describe("breaker_state", "Circuit breakers in front of what is remote: 1 for the state that each is in.", "breaker", "state")
	connectOutcome = [...]string{"at_once", "late", "left", "refused"}
)

// collectLimits exports what the limits have done.
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

// collectWorkers exports how busy the workers are that do what is slow.
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

// breakerStates are all that a breaker may be in.
var breakerStates = []string{"closed", "half-open", "open"}

// collectVerifiers exports what the verifiers answered, and whether those are asked that are remote.
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
			gauge(breakerState, truth(state == is), name, state)
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
