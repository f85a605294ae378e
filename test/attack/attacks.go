package main

// attack is one way to harm a gateway.
type attack struct {
	name   string
	limit  string                 // options that bound it
	conns  int                    // most connections at a time
	starts float64                // most connections a second
	one    func(*crew, int) error // the life of one connection, of the member with that number
	proof  []string               // beginnings of metrics, after longline_, of which one shows the limit at work
	room   int                    // MiB by which the gateway's memory may grow
}

// attacks are all, from the outermost layer to the innermost. Figures of memory are what the
// limits of the configuration allow: connections times what one may hold, and garbage.
var attacks = []attack{
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

// find returns the attack of that name, nil when there is none.
func find(name string) *attack {
	for i := range attacks {
		if attacks[i].name == name {
			return &attacks[i]
		}
	}
	return nil
}
