package session

import (
	"context"
	"testing"

	"github.com/longline/longline/internal/ledger"
)

// The sum over 100,000 idle devices.
func BenchmarkLedger(b *testing.B) {
	const n = 100_000
	w := newWorld(b, Config{})
	links := idle(b, w, n, &quiet{})
	for b.Loop() {
		if err := w.manager.AddLedger(context.Background(), new(ledger.Node)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/device")
	_ = links
}
