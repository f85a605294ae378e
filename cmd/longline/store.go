package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/longline/longline/internal/store/disk"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// describeStore answers the API's GetStore.
func (n *node) describeStore() *longlinev1.GetStoreResponse {
	r := &longlinev1.GetStoreResponse{Durable: n.disk != nil}
	if err := n.storeFailed(); err != nil {
		r.Failing = err.Error()
	}
	if n.disk == nil {
		return r
	}
	s := n.disk.Stats()
	r.JournalBytes, r.StateBytes, r.FreeBytes = s.Journal.Size, int64(s.StateBytes), s.Free
	r.MaxBytes, r.OnSecondPath = int64(n.config.Store.MaxBytes), s.Journal.Aside
	r.UnsafeOperations, r.BehindOperations, r.LostOperations = uint64(s.Unsafe), s.Behind, s.Lost
	for _, l := range n.disk.Lost() {
		r.Lost = append(r.Lost, &longlinev1.LostOperations{
			First: l.First, Last: l.Last, Found: timestamppb.New(l.Found), DeviceBefore: l.DeviceBefore, DeviceAfter: l.DeviceAfter,
		})
	}
	return r
}

// storeMetrics are those of a store on disk; longline_store_failing is there without one too.
func (n *node) storeMetrics() []prometheus.Collector {
	if n.disk == nil {
		return nil
	}
	c := storeCollector{store: n.disk}
	add := func(kind prometheus.ValueType, name, help string, value func(disk.Stats) float64) {
		c.metrics = append(c.metrics, storeMetric{prometheus.NewDesc(name, help, nil, nil), kind, value})
	}
	add(prometheus.GaugeValue, "longline_store_journal_bytes", "Bytes on disk of the journal's files.",
		func(s disk.Stats) float64 { return float64(s.Journal.Size) })
	add(prometheus.GaugeValue, "longline_store_state_bytes", "Bytes on disk of the state's files.",
		func(s disk.Stats) float64 { return float64(s.StateBytes) })
	add(prometheus.GaugeValue, "longline_store_segments", "Segments of the journal that hold operations.",
		func(s disk.Stats) float64 { return float64(s.Journal.Segments) })
	add(prometheus.GaugeValue, "longline_store_unsafe_operations", "Operations that wait for a sync.",
		func(s disk.Stats) float64 { return float64(s.Unsafe) })
	add(prometheus.GaugeValue, "longline_store_behind_operations", "Operations that are safe in the journal and not yet in the state.",
		func(s disk.Stats) float64 { return float64(s.Behind) })
	add(prometheus.GaugeValue, "longline_store_sync_waiting_seconds", "How long the sync that is under way has taken so far.",
		func(s disk.Stats) float64 { return s.Journal.Syncing.Seconds() })
	add(prometheus.CounterValue, "longline_store_operations_total", "Operations that were made safe.",
		func(s disk.Stats) float64 { return float64(s.Journal.Records) })
	add(prometheus.CounterValue, "longline_store_syncs_total", "Groups of operations that were written and synced.",
		func(s disk.Stats) float64 { return float64(s.Journal.Syncs) })
	add(prometheus.CounterValue, "longline_store_sync_seconds_total", "Time that writing and syncing groups took.",
		func(s disk.Stats) float64 { return s.Journal.SyncTime.Seconds() })
	add(prometheus.CounterValue, "longline_store_faults_total", "Writes and syncs that the disk failed; most are survived.",
		func(s disk.Stats) float64 { return float64(s.Journal.Faults + s.Faults) })
	add(prometheus.CounterValue, "longline_store_lost_operations_total", "Operations that were safe, and that the disk has spoilt.",
		func(s disk.Stats) float64 { return float64(s.Lost) })
	add(prometheus.GaugeValue, "longline_store_free_bytes", "Free bytes of the file system of store.path.",
		func(s disk.Stats) float64 { return float64(s.Free) })
	add(prometheus.GaugeValue, "longline_store_full", "1 while store.max_bytes or store.reserve let the store take no message, otherwise 0.",
		func(s disk.Stats) float64 { return zeroOne(s.Full) })
	add(prometheus.CounterValue, "longline_store_stalls_total", "Writes of the journal that took longer than store.stall, with store.second_path.",
		func(s disk.Stats) float64 { return float64(s.Journal.Stalls) })
	add(prometheus.GaugeValue, "longline_store_on_second_path", "1 while the journal writes in store.second_path, otherwise 0.",
		func(s disk.Stats) float64 { return zeroOne(s.Journal.Aside) })
	return []prometheus.Collector{c}
}

func zeroOne(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// storeCollector reads the store's counters once per scrape.
type storeCollector struct {
	store   *disk.Store
	metrics []storeMetric
}

type storeMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(disk.Stats) float64
}

func (c storeCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		descs <- m.desc
	}
}

func (c storeCollector) Collect(metrics chan<- prometheus.Metric) {
	stats := c.store.Stats()
	for _, m := range c.metrics {
		metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(stats))
	}
}
