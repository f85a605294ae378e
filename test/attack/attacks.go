package main

import (
	"context"
	"slices"
)

// attack is one way to harm a gateway: a load, a trial, or both at the same time.
type attack struct {
	load
	setting *setting // the gateway's
	// try is the trial: it does what does not need a crowd, or what an honest device does under the load. Its error says what the gateway
	// did wrong. It may be nil.
	try func(context.Context, *round) error
	// after is set if the attack stops the gateway, makes it read its devices slowly, or uses much processor time itself. The honest
	// devices publish during the attack, and their latency is measured after it.
	after bool
}

// load is an attack by many connections.
type load struct {
	name   string
	limit  string                 // options that bound it
	conns  int                    // most connections at a time
	starts float64                // most connections per second
	one    func(*crew, int) error // the life of one connection of the member with that number
	proof  []string               // beginnings of metrics, without longline_: one of them must rise, to show that the limit works
	room   int                    // MiB by which the gateway's memory may grow
}

// attacks has all attacks. Those with the same setting are together, because the short form makes them on one gateway.
var attacks = slices.Concat(alone(usual, loads), trials, alone(trusting, waves), alone(scarce, fills))

// alone returns attacks that are only a load.
func alone(s *setting, loads []load) (all []attack) {
	for _, l := range loads {
		all = append(all, attack{load: l, setting: s})
	}
	return all
}

// loads are in order from the outermost layer to the innermost. Their figures of memory are what the
// limits of the configuration allow: connections times what each may hold, and garbage.
var loads = []load{
	{"tls-garbage", "a TLS handshake", 300, 300, tlsGarbage, []string{`handshakes_total{outcome="incomplete"}`}, 64},
	{"tls-stall", "gateway.tls.timeout", 2500, 700, tlsStall, []string{`handshakes_total{outcome="incomplete"}`}, 96},
	{"slow-handshake", "gateway.handshake_timeout", 2500, 600, slowHandshake, []string{`handshakes_total{outcome="refused_408"}`}, 128},
	{"header-flood", "gateway.header_fields", 200, 200, headerFlood, []string{`handshakes_total{outcome="refused_431"}`}, 64},
	{"oversize-header", "gateway.header_bytes", 200, 200, oversizeHeader, []string{`handshakes_total{outcome="refused_431"}`}, 64},
	{"oversize-url", "gateway.header_bytes", 200, 200, oversizeURL, []string{`handshakes_total{outcome="refused_4`}, 64},
	{"connect-flood", "limits.connect, limits.connections.per_address", 3000, 2500, connectFlood, []string{"connections_refused_total"}, 96},
	{"bad-credentials", "limits.connect", 500, 500, badCredentials, []string{`verifications_total{method="none",outcome="refused"}`}, 64},
	{"half-closed", "gateway.handshake_timeout, end of stream", 500, 300, halfClosed, []string{`handshakes_total{outcome="incomplete"}`, "closes_total"}, 64},
	{"resets", "the socket's end", 300, 300, resets, []string{"closes_total"}, 64},

	{"oversize-frame", "gateway.max_payload", 200, 200, oversizeFrame, []string{`closes_total{reason="message_too_big"}`}, 64},
	{"slow-frame", "gateway.message_timeout, max_payload", 200, 200, slowFrame, []string{`closes_total{reason="message_timeout"}`}, 128},
	{"compression-bomb", "gateway.max_payload", 100, 100, compressionBomb, []string{`closes_total{reason="message_too_big"}`}, 64},
	{"fragment-flood", "limits.device.bytes", 50, 50, fragmentFlood, []string{`readers_slowed_total{reason="rate"}`}, 64},
	{"ping-flood", "limits.device.bytes, answers that are taken", 50, 50, pingFlood, []string{`readers_slowed_total{reason="rate"}`, `closes_total{reason="slow_consumer"}`}, 64},
	{"invalid-utf8", "a connection's end", 200, 200, invalidUTF8, []string{`closes_total{reason="invalid_utf8"}`}, 64},

	{"mqtt-slow-connect", "gateway.handshake_timeout", 2500, 1000, mqttSlowConnect, []string{`handshakes_total{outcome="refused_`}, 64},
	{"mqtt-unfinished-connect", "gateway.unverified_bytes, header_bytes", 1400, 1000, mqttUnfinishedConnect, []string{`connections_refused_total{reason="unverified_bytes"}`}, 64},
	{"mqtt-slow-packet", "gateway.message_timeout, max_payload", 200, 200, mqttSlowPacket, []string{`closes_total{reason="message_timeout"}`}, 128},
	{"mqtt-oversize", "gateway.max_payload", 200, 200, mqttOversize, []string{`closes_total{reason="message_too_big"}`}, 64},
	{"mqtt-ping-flood", "limits.device", 50, 50, mqttPingFlood, []string{`readers_slowed_total{reason="rate"}`, `closes_total{reason="slow_consumer"}`}, 64},
	{"mqtt-invalid-utf8", "a connection's end", 200, 200, mqttInvalidUTF8, []string{`closes_total{reason="malformed_packet"}`, `closes_total{reason="contract"}`}, 64},

	{"subscription-flood", "sessions.max_subscriptions, limits.device", 100, 100, subscriptionFlood, []string{`readers_slowed_total{reason="rate"}`}, 96},
	{"topic-tree", "sessions.topics, sessions.max_subscriptions", 100, 100, topicTree, []string{`readers_slowed_total{reason="rate"}`}, 96},
	{"oversize-topics", "sessions.topics", 200, 200, oversizeTopics, []string{`messages_dropped_total{reason="invalid_topic"}`}, 64},
	{"distinct-topics", "limits.device.messages", 300, 300, distinctTopics, []string{`readers_slowed_total{reason="rate"}`}, 64},
	{"full-queues", "store.queue, router.max_wait", 100, 100, fullQueues, []string{`messages_dropped_total{reason="queue_full"}`}, 128},
	{"never-acks", "sessions.ack_timeout", 100, 100, neverAcks, []string{`closes_total{reason="ack_timeout"}`}, 128},
	{"wills", "limits.connect, sessions.wills_per_credential", 500, 1000, wills, []string{"wills_published_total", `connections_refused_total{reason="credential_sessions"}`}, 128},
	{"retained", "store.retained", 200, 200, retained, []string{`messages_not_retained_total{reason="device"}`}, 96},
	{"retained-search", "a part of the search in a turn, limits.device", 100, 100, retainedSearch, []string{`readers_slowed_total{reason="rate"}`}, 96},

	{"admin-idle", "api.max_connections", 300, 300, adminIdle, []string{"api_connections_closed_total"}, 64},
	{"admin-zero-window", "requests without a token, of a connection", 50, 50, adminZeroWindow, []string{"api_requests_reset_total"}, 64},
	{"admin-pages", "api.origins", 50, 100, adminPages, []string{"api_pages_refused_total"}, 64},
}

// waves are loads whose devices all leave at once.
var waves = []load{
	{"will-waves", "a slice of wills in a turn", 3000, 1500, willWaves, []string{"wills_published_total"}, 128},
}

// fills make the gateway acknowledge more messages than it has memory for. A gateway with scarce memory may exceed its limit by a tenth.
var (
	full  = []string{`messages_dropped_total{reason="quota`, `connections_refused_total{reason="memory"}`}
	fills = []load{
		{"fill-by-devices", "limits.memory.owed", 50, 50, fillByDevices, full, scarceMiB},
		{"fill-by-backend", "limits.memory.owed", 4, 50, fillByBackend, full, scarceMiB},
	}
)

// trials are attacks without a load: the gateway does the right thing or not.
var trials = []attack{
	{load: load{"wrong-passwords", "half of the processors, wrong passwords of an address", 250, 100, wrongPasswords,
		[]string{`verifications_total{method="basic"`}, 64}, setting: usual, try: passwordsKnown},
	{load: load{name: "few-descriptors", limit: "ulimit -n", room: 64}, setting: usual, try: fewDescriptors, after: true},
	{load: load{name: "two-names", limit: "Revoke", room: 64}, setting: usual, try: twoNames},
	{load: load{name: "withdrawn-token", limit: "auth.tokens", room: 64}, setting: usual, try: withdrawnToken},
	{load: load{name: "call-methods", limit: "Call", room: 64}, setting: usual, try: callMethods},
	{load: load{name: "foreign-wills", limit: "auth.permissions", room: 64}, setting: usual, try: foreignWills},
	{load: load{name: "signals", limit: "SIGHUP, SIGPIPE", room: 64}, setting: usual, try: signals, after: true},
	{load: load{name: "audit-full", limit: "api.audit", room: 64}, setting: usual, try: auditFull, after: true},
	{load: load{name: "owed-come-back", limit: "limits.memory", room: scarceMiB}, setting: short, try: owedComeBack, after: true},
	{load: load{"session-names", "limits.connect", 2000, 2500, sessionNames, []string{`connections_refused_total{reason="connect_rate"}`}, 96},
		setting: paced, try: sessionsResume},
	{load: load{name: "pause", limit: "gateway.heartbeat", room: 64}, setting: impatient, try: pause, after: true},
}

// shown reports whether one of the metrics that have risen shows that the limit works.
func (l *load) shown(rises metrics) bool { return len(l.proof) == 0 || rises.any(l.proof) }

// find returns the attack of that name, or nil.
func find(name string) *attack {
	for i := range attacks {
		if attacks[i].name == name {
			return &attacks[i]
		}
	}
	return nil
}
