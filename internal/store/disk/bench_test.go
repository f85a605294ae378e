package disk

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// BenchmarkApply is what the applier does with messages that stay, and with those that are acknowledged soon. cpu-ns/op is the processor
// time of a message, with that of pebble's goroutines.
func BenchmarkApply(b *testing.B) {
	for _, devices := range []int{1, 1000} {
		b.Run(fmt.Sprintf("waiting/devices=%d", devices), func(b *testing.B) { benchmarkApply(b, devices, false) })
		b.Run(fmt.Sprintf("acknowledged/devices=%d", devices), func(b *testing.B) { benchmarkApply(b, devices, true) })
	}
}

func benchmarkApply(b *testing.B, devices int, acknowledged bool) {
	s, err := openState(b.TempDir(), vfs.Default, &store.RetainedLimits{}, &pebble.EventListener{}, func(error) {})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.close() })
	rng := rand.New(rand.NewPCG(1, 2))
	payload := make([]byte, 128)
	for i := range payload {
		payload[i] = ' ' + byte(rng.IntN(64))
	}
	var ops [][]byte
	var all changes
	number := make([]uint64, devices)
	b.ReportAllocs()
	from := processorTime(b)
	b.ResetTimer()
	const atOnce = 4000
	for n := 0; n < b.N; n += atOnce {
		b.StopTimer()
		made := processorTime(b)
		ops = ops[:0]
		for i := range min(atOnce, b.N-n) {
			d := (n + i) % devices
			number[d]++
			device := fmt.Sprintf("device-%06d", d)
			m := &message.Message{ID: uint64(n + i + 1), Topic: "device/bench-17/telemetry", Source: "bench-17", Payload: payload, QoS: message.AtLeastOnce, Time: time.Now().UnixMilli()}
			push := store.Op{Kind: store.OpPush, Device: device, Number: number[d], QoS: m.QoS, Due: time.Now().UnixMilli(), Size: m.Size(), Message: m}
			ops = append(ops, store.AppendOp(nil, &push))
			if acknowledged {
				ops = append(ops, store.AppendOp(nil, &store.Op{Kind: store.OpRemove, Device: device, Number: number[d]}))
			}
		}
		from += processorTime(b) - made
		b.StartTimer()
		t := s.batch()
		for _, p := range ops {
			if err := all.add(p); err != nil {
				b.Fatal(err)
			}
		}
		all.write(t)
		t.next = journal.Place(n + 1)
		if err := s.apply(t); err != nil {
			b.Fatal(err)
		}
		t.close()
	}
	if err := s.flush(); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric(float64(processorTime(b)-from)/float64(b.N), "cpu-ns/op")
}

// processorTime returns how long the process has used processors.
func processorTime(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
