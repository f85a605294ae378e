package gateway

import (
	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/session"
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
func (g *Gateway) collectLimits(t *tally, gauge func(metric, float64, ...string), count func(metric, uint64, ...string)) {
	for _, label := range refusalLabels {
		count(refusals, t.refusals[label], label)
	}
	for why, label := range slowingLabels {
		count(slowed, t.slowed[why], label)
	}
	connections := g.guard.count.Stats()
	gauge(sourceCount, float64(connections.Addresses))
	for prefix, n := range connections.Prefixes {
		gauge(prefixOnline, float64(n), prefix)
	}
	g.collectLine(gauge, count)
	gauge(unverified, float64(g.guard.unverified.Load()))
	owed, most := g.config.Account.Bytes()
	gauge(owedBytes, float64(owed))
	gauge(owedLimit, float64(most))
	u := g.guard.memory.Usage()
	gauge(memoryUsed, float64(u.Used))
	gauge(memoryLimit, float64(u.Limit))
	gauge(memoryStage, float64(g.guard.memory.Stage()))
	count(memoryUnread, g.guard.unread.Load())
	g.collectJobs(gauge, count)
	if g.admission.chain != nil {
		g.admission.collect(gauge, count)
	}
}

var refusalLabels = []string{
	limit.NodeFull.Label, limit.AddressFull.Label, limit.PrefixFull.Label, labelRate, labelRateTime, labelMemory, labelUnverified, labelCredential,
	session.PrefixSessionsFull.Label, session.PrefixWillsFull.Label,
}

func (g *Gateway) collectLine(gauge func(metric, float64, ...string), count func(metric, uint64, ...string)) {
	r := g.guard.rate.Stats()
	gauge(waiting, float64(r.Waiting[limit.Resumed]), "resumed")
	gauge(waiting, float64(r.Waiting[limit.New]), "new")
	for i, n := range [...]uint64{r.AtOnce, r.Late, r.Left, r.SentAway} {
		count(turns, n, connectOutcome[i])
	}
}

// collectJobs exports how busy the workers are that do what is slow.
func (g *Gateway) collectJobs(gauge func(metric, float64, ...string), count func(metric, uint64, ...string)) {
	pool := func(name string, w *reactor.Workers) {
		s := w.Stats()
		gauge(jobs, float64(s.Running), name, "running")
		gauge(jobs, float64(s.Resting), name, "resting")
		gauge(jobs, float64(s.Waiting), name, "waiting")
		count(jobsRefused, s.Refused, name)
	}
	if g.keeper != nil {
		pool("tls", g.keeper.workers)
	}
	if g.admission.chain != nil {
		pool("verification", g.admission.workers)
	}
}

// breakerStates are all that a breaker may be in.
var breakerStates = []string{"closed", "half-open", "open"}

// collect exports what the verifiers answered, and whether those are asked that are remote.
func (a *admission) collect(gauge func(metric, float64, ...string), count func(metric, uint64, ...string)) {
	for _, s := range a.chain.Stats() {
		count(verifications, s.Accepted, s.Method, "accepted")
		count(verifications, s.Refused, s.Method, "refused")
		count(verifications, s.Unavailable, s.Method, "unavailable")
	}
	for name, is := range a.chain.Breakers() {
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
