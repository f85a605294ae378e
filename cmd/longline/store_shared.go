package main

import (
	"github.com/prometheus/client_golang/prometheus"

	storeredis "github.com/longline/longline/internal/store/redis"
)

// sharedStoreMetrics are those of a store on Redis.
func (n *node) sharedStoreMetrics() (all []prometheus.Collector) {
	if n.shared == nil {
		return nil
	}
	sharedGauge := func(name, help string, value func(storeredis.Stats) uint64) {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "longline_cluster_store_" + name, Help: help},
			func() float64 { return float64(value(n.shared.store.Stats())) }))
	}
	sharedCounter := func(name, help string, value func(storeredis.Stats) uint64) {
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "longline_cluster_store_" + name + "_total", Help: help},
			func() float64 { return float64(value(n.shared.store.Stats())) }))
	}
	sharedGauge("owned_devices", "Devices whose owner this node is, connected or not.", func(s storeredis.Stats) uint64 { return uint64(s.Owned) })
	sharedGauge("unsafe_operations", "Changes of devices that Redis does not have yet.", func(s storeredis.Stats) uint64 { return s.Unsafe })
	sharedCounter("claims", "Devices that this node has claimed.", func(s storeredis.Stats) uint64 { return s.Claims })
	sharedCounter("claims_failed", "Claims that Redis did not answer, or refused: the devices were refused.", func(s storeredis.Stats) uint64 { return s.ClaimsFailed })
	sharedCounter("claims_again", "Claims that Redis had lost in a failover or a restart, and that were made again.", func(s storeredis.Stats) uint64 { return s.ClaimsAgain })
	sharedCounter("batches", "Groups of changes of devices that were written to Redis.", func(s storeredis.Stats) uint64 { return s.Batches })
	sharedCounter("writes", "Changes of one device in such groups.", func(s storeredis.Stats) uint64 { return s.Writes })
	sharedCounter("write_commands", "Commands that made these changes.", func(s storeredis.Stats) uint64 { return s.Commands })
	sharedCounter("writes_refused", "Changes that Redis refused, because another node has the device.", func(s storeredis.Stats) uint64 { return s.Refused })
	sharedCounter("batches_failed", "Attempts to write to Redis that failed, and were repeated.", func(s storeredis.Stats) uint64 { return s.Failed })
	sharedCounter("devices_lost", "Devices that another node has claimed before this one was told so.", func(s storeredis.Stats) uint64 { return s.Lost })
	sharedCounter("redirected_messages", "Messages that were sent on, because another node has the device.", func(s storeredis.Stats) uint64 { return s.Redirected })
	sharedCounter("not_redirected_messages", "Messages that could not be sent on in time: their publishers were refused.", func(s storeredis.Stats) uint64 { return s.NotRedirected })
	sharedCounter("spoilt", "Records, messages and keys in Redis that are not what they should be, and were skipped.", func(s storeredis.Stats) uint64 { return s.Spoilt })
	sharedCounter("recoveries", "How often what Redis may have lost was written again.", func(s storeredis.Stats) uint64 { return s.Recoveries })
	sharedCounter("recoveries_short", "Claims and groups of changes that could not be written again, because there were too many.", func(s storeredis.Stats) uint64 { return uint64(s.Forgotten) })
	return all
}
