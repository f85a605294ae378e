package topic

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/longline/longline/internal/message"
)

// fleets are the filters that devices subscribe to; each device has all filters of its fleet.
var fleets = []struct {
	name   string
	shapes []string
}{
	{"all", []string{"device/%d/#"}},
	{"down", []string{"device/%d/down"}},
	{"two", []string{"device/%d/down", "device/%d/group/+"}},
	{"same", []string{"fleet/all"}},
}

func filters(shapes []string, devices int) []string {
	var all []string
	for i := range devices {
		for _, shape := range shapes {
			if shape == "fleet/all" {
				all = append(all, shape)
				continue
			}
			all = append(all, fmt.Sprintf(shape, 100_000_000+i))
		}
	}
	return all
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkMemory reports the heap that an index uses per subscription, without the
// filters' strings, which belong to the sessions.
func BenchmarkMemory(b *testing.B) {
	const devices = 1_000_000
	for _, fleet := range fleets {
		b.Run(fleet.name, func(b *testing.B) {
			all := filters(fleet.shapes, devices)
			subscribers := make([]int, devices)
			for b.Loop() {
				before := heap()
				x := NewIndex[*int]()
				for i, filter := range all {
					x.Subscribe(filter, &subscribers[i/len(fleet.shapes)], message.AtLeastOnce)
				}
				b.ReportMetric(float64(heap()-before)/float64(len(all)), "B/subscription")
				runtime.KeepAlive(x)
			}
			runtime.KeepAlive(all)
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, monitor := range []string{"", "device/+/down", "#"} {
		b.Run("monitor="+monitor, func(b *testing.B) {
			x := NewIndex[*int]()
			for _, filter := range filters(fleets[1].shapes, 100_000) {
				x.Subscribe(filter, new(int), message.AtLeastOnce)
			}
			if monitor != "" {
				x.Subscribe(monitor, new(int), message.AtMostOnce)
			}
			topics := filters(fleets[1].shapes, 1000)
			dst := make([]Hit[*int], 0, 4)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				dst = x.Match(topics[i%len(topics)], dst[:0])
				i++
			}
		})
	}
}

func BenchmarkChurn(b *testing.B) {
	x := NewIndex[*int]()
	all := filters(fleets[1].shapes, 100_000)
	for _, filter := range all {
		x.Subscribe(filter, new(int), message.AtLeastOnce)
	}
	s, i := new(int), 0
	b.ReportAllocs()
	for b.Loop() {
		x.Subscribe(all[i%len(all)]+"/x", s, message.AtLeastOnce)
		x.Unsubscribe(all[i%len(all)]+"/x", s)
		i++
	}
}
