package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result says what a load was and what it cost. An echo counts as one message, and
// so does the delivery of a broadcast to one connection.
type Result struct {
	Messages uint64
	Lost     uint64 // of a lossy load: messages that were sent in the whole time and never arrived
	Elapsed  time.Duration
	CPU      time.Duration           // processor time of the server
	Latency  *hdrhistogram.Histogram // nanoseconds
}

// Cost returns the server's CPU time per message.
func (r *Result) Cost() time.Duration {
	if r.Messages == 0 {
		return 0
	}
	return r.CPU / time.Duration(r.Messages)
}

// Micros returns d in microseconds.
func Micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// Rate returns messages per second.
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

// record adds a latency. One beyond the histogram's range counts as its largest value.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(1, int64(d)), maxLatency)) // in range
}
