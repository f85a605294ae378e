package gateway

import (
	"maps"
	"math"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/mqtt"
)

// tally is what a loop counted; the loops' tallies are added up when somebody asks.
type tally struct {
	packets     [wire.Ops]uint64  // received, by op
	mqttPackets [16]uint64        // of MQTT, by type
	closes      map[string]uint64 // by label
	handshakes  map[string]uint64 // by outcome
	refusals    map[string]uint64 // of connections by limits, by label
	slowed      [slowings]uint64  // devices not read for a while
	latency     histogram         // of deliveries, from publication to the socket
}

func newTally() tally {
	return tally{closes: make(map[string]uint64), handshakes: make(map[string]uint64), refusals: make(map[string]uint64)}
}

func (t *tally) add(o *tally) {
	for i, n := range o.packets {
		t.packets[i] += n
	}
	for i, n := range o.mqttPackets {
		t.mqttPackets[i] += n
	}
	addAll(t.closes, o.closes)
	addAll(t.handshakes, o.handshakes)
	addAll(t.refusals, o.refusals)
	for why, n := range o.slowed {
		t.slowed[why] += n
	}
	t.latency.add(&o.latency)
}

func addAll(sum, part map[string]uint64) {
	for label, n := range part {
		sum[label] += n
	}
}

// latencyBounds are the upper bounds of a histogram's buckets, in milliseconds.
var latencyBounds = [...]int64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 60_000}

// histogram counts latencies. Owned by a loop: plain numbers, where Prometheus's own would
// need atomics on the way of every message.
type histogram struct {
	buckets [len(latencyBounds) + 1]uint64
	sum     int64 // milliseconds
}

func (h *histogram) observe(ms int64) {
	ms = max(0, ms)
	i := 0
	for i < len(latencyBounds) && ms > latencyBounds[i] {
		i++
	}
	h.buckets[i]++
	h.sum += ms
}

func (h *histogram) add(o *histogram) {
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
	h.sum += o.sum
}

// metric is one that the gateway exports.
type metric = *prometheus.Desc

func describe(name, help string, labels ...string) metric {
	return prometheus.NewDesc("longline_"+name, help, labels, nil)
}

var (
	connections   = describe("connections", "Open connections, those shaking hands included.")
	accepted      = describe("connections_accepted_total", "Connections accepted.")
	noDescriptors = describe("accept_failures_total", "Times that accepting stopped for want of descriptors or memory.")
	handshakes    = describe("handshakes_total", "Opening handshakes by outcome.", "outcome")
	closes        = describe("closes_total", "Connections of devices that ended, by reason.", "reason")
	received      = describe("received_bytes_total", "Bytes received from devices.")
	sent          = describe("sent_bytes_total", "Bytes sent to devices.")
	lent          = describe("buffers_lent", "Buffers that connections hold now; idle ones hold none.")
	unfinished    = describe("messages_unfinished", "WebSocket messages of which a part has come: each holds its buffer until the rest does.")
	packets       = describe("packets_received_total", "Packets received from devices, by operation; of MQTT, by type.", "op")
	sessionCount  = describe("sessions", "Sessions by state.", "state")
	published     = describe("messages_published_total", "Messages given to the router.")
	delivered     = describe("messages_delivered_total", "Deliveries: messages times receivers.")
	dropped       = describe("messages_dropped_total", "Messages not delivered, by reason.", "reason")
	notRetained   = describe("messages_not_retained_total", "Messages that were to be retained and are not, by whose bound they would pass. They were delivered.", "reason")
	wills         = describe("wills_published_total", "Wills published: their devices left without a good-bye.")
	storeFailures = describe("store_failures_total", "Times that the store could not do what a session asked of it.")
	filters       = describe("filters", "Distinct filters subscribed to.")
	subscriptions = describe("subscriptions", "Pairs of filter and subscriber.")
	latency       = describe("delivery_latency_seconds", "Time from publication until a message was handed to the device's socket; what waited for an absent device included.")
)

// Describe implements prometheus.Collector. Some have no label before the first event.
func (g *Gateway) Describe(ch chan<- *prometheus.Desc) {
	ch <- handshakes
	ch <- closes
	prometheus.DescribeByCollect(g, ch)
}

// Collect implements prometheus.Collector. It asks every loop, and waits for them.
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
	for label, n := range t.handshakes {
		count(handshakes, n, label)
	}
	for label, n := range t.closes {
		count(closes, n, label)
	}
	for op := wire.Hello; op < wire.Ops; op++ {
		count(packets, t.packets[op], op.String())
	}
	for p := mqtt.Connect; p <= mqtt.Auth; p++ {
		if n := t.mqttPackets[p]; n > 0 {
			count(packets, n, strings.ToLower(p.String()))
		}
	}
	ch <- t.latency.metric(latency)
	g.collectLimits(&t, gauge, count)

	all, online := g.sessions.Count()
	gauge(sessionCount, float64(online), "online")
	gauge(sessionCount, float64(all-online), "away")

	failures, _ := g.sessions.StoreFailures()
	count(storeFailures, failures)
	count(wills, g.sessions.Wills())

	r := g.router.Stats()
	count(published, r.Published)
	count(delivered, r.Delivered)
	gauge(filters, float64(r.Filters))
	gauge(subscriptions, float64(r.Subscriptions))
	g.router.Drops.Each(func(label string, n uint64) { count(dropped, n, label) })
	g.router.NotRetained.Each(func(label string, n uint64) { count(notRetained, n, label) })
}

func (h *histogram) metric(d metric) prometheus.Metric {
	cumulative := make(map[float64]uint64, len(latencyBounds))
	n := uint64(0)
	for i, bound := range latencyBounds {
		n += h.buckets[i]
		cumulative[float64(bound)/1000] = n
	}
	n += h.buckets[len(latencyBounds)]
	return prometheus.MustNewConstHistogram(d, n, math.Round(float64(h.sum))/1000, cumulative)
}

// tally adds up what the loops counted.
func (g *Gateway) tally() tally {
	parts := make([]tally, len(g.group.Loops()))
	g.group.Each(func(l *reactor.Loop) {
		part := l.Local.(*shard).tally
		part.closes, part.handshakes = maps.Clone(part.closes), maps.Clone(part.handshakes)
		part.refusals = maps.Clone(part.refusals)
		parts[l.Index()] = part
	})
	sum := newTally()
	for i := range parts {
		sum.add(&parts[i])
	}
	return sum
}
