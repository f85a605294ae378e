package door

import (
	"maps"

	"github.com/longline/longline/internal/wire"
)

// Tally has the counters of one loop. The gateway adds them up when it is asked.
type Tally struct {
	Packets     [wire.Ops]uint64  // received, by op
	MQTTPackets [16]uint64        // of MQTT, by type
	Closes      map[string]uint64 // by label
	Handshakes  map[string]uint64 // by outcome
	Refusals    map[string]uint64 // of connections by limits, by label
	Faults      map[string]uint64 // of devices that did not end their connection, by label
	Slowed      [Slowings]uint64  // devices not read for a while
	Latency     Histogram         // of deliveries, from publication to the socket
}

// NewTally returns a Tally whose counters are 0.
func NewTally() Tally {
	return Tally{
		Closes: make(map[string]uint64), Handshakes: make(map[string]uint64),
		Refusals: make(map[string]uint64), Faults: make(map[string]uint64),
	}
}

// Add adds o to t.
func (t *Tally) Add(o *Tally) {
	for i, n := range o.Packets {
		t.Packets[i] += n
	}
	for i, n := range o.MQTTPackets {
		t.MQTTPackets[i] += n
	}
	addAll(t.Closes, o.Closes)
	addAll(t.Handshakes, o.Handshakes)
	addAll(t.Refusals, o.Refusals)
	addAll(t.Faults, o.Faults)
	for why, n := range o.Slowed {
		t.Slowed[why] += n
	}
	t.Latency.Add(&o.Latency)
}

func addAll(sum, part map[string]uint64) {
	for label, n := range part {
		sum[label] += n
	}
}

// LatencyBounds are the upper bounds of a Histogram's Buckets, in milliseconds.
var LatencyBounds = [...]int64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 60_000}

// Histogram counts latencies. Owned by a loop: it has plain numbers, where Prometheus's own histogram would need
// atomic operations per message.
type Histogram struct {
	Buckets [len(LatencyBounds) + 1]uint64
	Sum     int64 // milliseconds
}

// Observe counts one latency.
func (h *Histogram) Observe(ms int64) {
	ms = max(0, ms)
	i := 0
	for i < len(LatencyBounds) && ms > LatencyBounds[i] {
		i++
	}
	h.Buckets[i]++
	h.Sum += ms
}

// Add adds o to h.
func (h *Histogram) Add(o *Histogram) {
	for i, n := range o.Buckets {
		h.Buckets[i] += n
	}
	h.Sum += o.Sum
}

// Counted returns a copy of the loop's counters. On the loop.
func (s *Shard) Counted() Tally {
	t := s.Tally
	t.Closes, t.Handshakes, t.Refusals, t.Faults = maps.Clone(t.Closes), maps.Clone(t.Handshakes), maps.Clone(t.Refusals), maps.Clone(t.Faults)
	return t
}
