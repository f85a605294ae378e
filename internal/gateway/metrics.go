package gateway

import (
	"math"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/mqtt"
)

// metric describes a metric that the gateway exports.
type metric = *prometheus.Desc

func describe(name, help string, labels ...string) metric {
	return prometheus.NewDesc("longline_"+name, help, labels, nil)
}

var (
	connections   = describe("connections", "Open connections, including those in their handshake.")
	accepted      = describe("connections_accepted_total", "Connections accepted.")
	noDescriptors = describe("accept_failures_total", "Times that accepting stopped because the process had no descriptors or memory left.")
	handshakes    = describe("handshakes_total", "Opening handshakes by outcome.", "outcome")
	closes        = describe("closes_total", "Connections of devices that ended, by reason.", "reason")
	received      = describe("received_bytes_total", "Bytes received from devices.")
	sent          = describe("sent_bytes_total", "Bytes sent to devices.")
	lent          = describe("buffers_lent", "Buffers that connections hold now; idle connections hold none.")
	unfinished    = describe("messages_unfinished", "WebSocket messages that have arrived in part; each holds a buffer until the rest arrives.")
	packets       = describe("packets_received_total", "Packets received from devices, by operation, and for MQTT by packet type.", "op")
	faults        = describe("ocpp_faults_total", "What chargers did wrong without losing their connection, by kind.", "fault")
	sessionCount  = describe("sessions", "Sessions by state.", "state")
	published     = describe("messages_published_total", "Messages given to the router.")
	delivered     = describe("messages_delivered_total", "Deliveries: one per message and receiver.")
	dropped       = describe("messages_dropped_total", "Messages not delivered, by reason.", "reason")
	notRetained   = describe("messages_not_retained_total", "Messages that could not be retained, by the bound that they would have passed. They were delivered.", "reason")
	wills         = describe("wills_published_total", "Wills published because a device left without DISCONNECT.")
	storeFailing  = describe("store_failing", "1 while the store cannot make anything safe on its medium, otherwise 0.")
	filters       = describe("filters", "Distinct filters subscribed to.")
	subscriptions = describe("subscriptions", "Pairs of filter and subscriber.")
	calls         = describe("device_calls_total", "Calls of devices to services that have ended: answered, refused with a code, or lost because the connection ended first. A service's own codes count as failed.", "outcome")
	callsOpen     = describe("device_calls", "Calls of devices to services that are under way.")
	latency       = describe("delivery_latency_seconds", "Time from publication until the message was written to the device's socket, including the time while the device was away.")
)

// Describe implements prometheus.Collector. Some metrics have no label before the first event, so Collect does not
// show them.
func (g *Gateway) Describe(ch chan<- *prometheus.Desc) {
	ch <- handshakes
	ch <- closes
	prometheus.DescribeByCollect(g, ch)
}

// Collect implements prometheus.Collector. It asks every loop, and waits for the answers.
func (g *Gateway) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d metric, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d metric, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	s := g.group.Stats()
	gauge(connections, float64(s.Open))
	count(accepted, s.Accepted)
	count(noDescriptors, s.Refused)
	count(crowded, s.Crowded)
	count(received, s.BytesIn)
	count(sent, s.BytesOut)
	gauge(lent, float64(s.Lent))
	gauge(unfinished, float64(websocket.Unfinished()))

	t := g.tally()
	for label, n := range t.Handshakes {
		count(handshakes, n, label)
	}
	for label, n := range t.Closes {
		count(closes, n, label)
	}
	for label, n := range t.Faults {
		count(faults, n, label)
	}
	for op := wire.Hello; op < wire.Ops; op++ {
		count(packets, t.Packets[op], op.String())
	}
	for p := mqtt.Connect; p <= mqtt.Auth; p++ {
		if n := t.MQTTPackets[p]; n > 0 {
			count(packets, n, strings.ToLower(p.String()))
		}
	}
	ch <- histogram(latency, &t.Latency)
	g.collectLimits(&t, gauge, count)

	all, online := g.door.Sessions.Count()
	gauge(sessionCount, float64(online), "online")
	gauge(sessionCount, float64(all-online), "away")

	gauge(storeFailing, gauge01(g.door.Sessions.StoreErr() != nil))
	count(wills, g.door.Sessions.Wills())

	gauge(callsOpen, float64(g.door.Sessions.Calls().Open()))
	g.door.Sessions.Calls().Each(func(outcome string, n uint64) { count(calls, n, outcome) })

	r := g.door.Router.Stats()
	count(published, r.Published)
	count(delivered, r.Delivered)
	gauge(filters, float64(r.Filters))
	gauge(subscriptions, float64(r.Subscriptions))
	g.door.Router.Drops.Each(func(label string, n uint64) { count(dropped, n, label) })
	g.door.Router.NotRetained.Each(func(label string, n uint64) { count(notRetained, n, label) })
}

// gauge01 returns 1 if is, otherwise 0.
func gauge01(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// histogram exports latencies.
func histogram(d metric, h *door.Histogram) prometheus.Metric {
	cumulative := make(map[float64]uint64, len(door.LatencyBounds))
	n := uint64(0)
	for i, bound := range door.LatencyBounds {
		n += h.Buckets[i]
		cumulative[float64(bound)/1000] = n
	}
	n += h.Buckets[len(door.LatencyBounds)]
	return prometheus.MustNewConstHistogram(d, n, math.Round(float64(h.Sum))/1000, cumulative)
}

// tally adds up the counters of the loops.
func (g *Gateway) tally() door.Tally {
	parts := make([]door.Tally, len(g.group.Loops()))
	g.group.Each(func(l *reactor.Loop) { parts[l.Index()] = l.Local.(*shard).door.Counted() })
	sum := door.NewTally()
	for i := range parts {
		sum.Add(&parts[i])
	}
	return sum
}
