package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what a load was and what it cost. Messages are counted once: an echo is one, and
// so is what a broadcast delivers to one connection.
type Result struct {
	Messages uint64
	Lost     uint64 // of a lossy load, those sent in all its time that never came
	Elapsed  time.Duration
	CPU      time.Duration           // of the server's process
	Latency  *hdrhistogram.Histogram // nanoseconds
}

// Cost returns the server's CPU time of one message.
func (r *Result) Cost() time.Duration {
	if r.Messages == 0 {
		return 0
	}
	return r.CPU / time.Duration(r.Messages)
}

// Micros is d in microseconds.
func Micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// Rate returns messages a second.
func (r *Result) Rate() float64 {
	if r.Elapsed == 0 {
		return 0
	}
	return float64(r.Messages) / r.Elapsed.Seconds()
}

// Percentile returns the latency that p percent of the messages did not exceed.
func (r *Result) Percentile(p float64) time.Duration {
	return time.Duration(r.Latency.ValueAtPercentile(p))
}

const (
	maxLatency    = int64(time.Minute)
	latencyDigits = 3
)

func newLatency() *hdrhistogram.Histogram { return hdrhistogram.New(1000, maxLatency, latencyDigits) }

// record adds a latency; one beyond the histogram's range counts as its end.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(1, int64(d)), maxLatency)) // in range
}
