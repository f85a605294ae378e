package fleet

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Tally counts what the devices did since the start. In a replay, messages are rows.
type Tally struct {
	Connected    int    `json:"connected"`    // devices that are connected now
	Dials        uint64 `json:"dials"`        // attempts to connect
	Reconnects   uint64 `json:"reconnects"`   // connections after the first of a device
	GaveUp       uint64 `json:"gave_up"`      // devices that used up their tries
	Sent         uint64 `json:"sent"`         // messages
	Acknowledged uint64 `json:"acknowledged"` // sent messages of QoS 1 that were acknowledged
	Refused      uint64 `json:"refused"`      // for good
	Retried      uint64 `json:"retried"`      // refusals for want of room, after which the device tried again
	Resent       uint64 `json:"resent"`       // times a message was sent again
	Skipped      uint64 `json:"skipped"`      // messages that were due while their device was away, its window full, or the gateway not reading
	Unsent       uint64 `json:"unsent"`       // messages of devices that gave up, and messages that were too large
	Waiting      int    `json:"waiting"`      // messages that a device has and that are not settled
	Received     uint64 `json:"received"`     // messages from the gateway
	Calls        uint64 `json:"calls"`        // calls answered
	Pings        uint64 `json:"pings"`        // pings answered
}

func (t *Tally) add(o *Tally) {
	t.Connected += o.Connected
	t.Dials += o.Dials
	t.Reconnects += o.Reconnects
	t.GaveUp += o.GaveUp
	t.Sent += o.Sent
	t.Acknowledged += o.Acknowledged
	t.Refused += o.Refused
	t.Retried += o.Retried
	t.Resent += o.Resent
	t.Skipped += o.Skipped
	t.Unsent += o.Unsent
	t.Waiting += o.Waiting
	t.Received += o.Received
	t.Calls += o.Calls
	t.Pings += o.Pings
}

// Latency is how long something took, in milliseconds.
type Latency struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Report says what a run did.
type Report struct {
	Devices int `json:"devices"`
	Rows    int `json:"rows,omitempty"` // of the recording
	// Frames says that the rows are frames of a raw subprotocol, which has no acknowledgements.
	Frames bool `json:"frames,omitempty"`
	Tally
	// ConnectLatency is the time from each dial to its hello, AckLatency the time from when a message was due
	// (synthetic) or first sent (replay) to its acknowledgement.
	ConnectLatency Latency           `json:"connect_latency_ms"`
	AckLatency     Latency           `json:"ack_latency_ms"`
	Elapsed        float64           `json:"elapsed_s"` // since the first dial
	Reasons        map[string]uint64 `json:"reasons"`   // why connections ended, and messages were refused or not sent
}

// Complete reports whether every message was acknowledged, or every frame sent.
func (r *Report) Complete() bool {
	done := r.Acknowledged
	if r.Frames {
		done = r.Sent
	}
	return r.Refused == 0 && r.Unsent == 0 && r.Waiting == 0 && r.GaveUp == 0 && done >= uint64(r.Rows)
}

// Snapshot is the state of the devices at one time.
type Snapshot struct {
	Tally
	LastHello   time.Time // when the last hello arrived
	LastMessage time.Time // when the last message arrived

	lastReason string
}

// Snapshot asks every lane.
func (f *Fleet) Snapshot() (sum Snapshot) {
	var greeted, received time.Duration
	f.gather(func(l *lane) {
		sum.add(&l.tally)
		greeted, received = max(greeted, l.greeted), max(received, l.received)
		if l.lastReason != "" {
			sum.lastReason = l.lastReason
		}
	})
	sum.LastHello, sum.LastMessage = f.began.Add(greeted), f.began.Add(received)
	return sum
}

// LeastReceived returns the number of messages of the device that got the fewest.
func (f *Fleet) LeastReceived() uint32 {
	least := uint32(math.MaxUint32)
	f.gather(func(l *lane) {
		for i := range l.clients {
			least = min(least, l.clients[i].got)
		}
	})
	return least
}

// ForgetLatency makes the next Report measure latencies from now on.
func (f *Fleet) ForgetLatency() {
	f.each(func(l *lane) {
		l.opens.Reset()
		l.latency.Reset()
	})
}

// gather calls add for every lane, on the lane's loop, one at a time.
func (f *Fleet) gather(add func(l *lane)) {
	var mu sync.Mutex
	f.each(func(l *lane) {
		mu.Lock()
		defer mu.Unlock()
		add(l)
	})
}

// Report adds up what the lanes counted.
func (f *Fleet) Report() Report {
	opens, acks := newLatency(), newLatency()
	out := Report{Devices: f.devices, Rows: f.rows, Frames: f.config.frames(), Reasons: make(map[string]uint64), Elapsed: f.clock().Seconds()}
	f.gather(func(l *lane) {
		out.add(&l.tally)
		opens.Merge(l.opens)
		acks.Merge(l.latency)
		for reason, n := range l.reasons {
			out.Reasons[reason] += n
		}
	})
	out.ConnectLatency, out.AckLatency = latencies(opens), latencies(acks)
	return out
}

func latencies(h *hdrhistogram.Histogram) Latency {
	at := func(percent float64) float64 { return float64(h.ValueAtPercentile(percent)) / 1000 }
	return Latency{at(50), at(90), at(99), float64(h.Max()) / 1000}
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	p := &printer{w: w}
	p.line("devices", "%d, %d connected, %d gave up", r.Devices, r.Connected, r.GaveUp)
	p.line("connections", "%d dialed, %d reconnects", r.Dials, r.Reconnects)
	if r.Rows > 0 {
		p.line("rows", "%d in the recording", r.Rows)
	}
	p.line("sent", "%d (%d sent again)", r.Sent, r.Resent)
	if !r.Frames {
		p.line("acknowledged", "%d", r.Acknowledged)
		p.line("refused", "%d for good, %d for want of room and tried again", r.Refused, r.Retried)
	}
	p.line("not sent", "%d skipped when due, %d never sent, %d without an answer", r.Skipped, r.Unsent, r.Waiting)
	p.line("received", "%d messages, %d calls and %d pings answered", r.Received, r.Calls, r.Pings)
	p.latency("connecting", r.ConnectLatency)
	if !r.Frames {
		p.latency("ack latency", r.AckLatency)
	}
	p.line("elapsed", "%v", time.Duration(r.Elapsed*float64(time.Second)).Round(time.Millisecond))
	for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
		p.line("reason", "%d x %s", r.Reasons[reason], reason)
	}
	return p.err
}

// printer writes lines until one fails.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) latency(name string, l Latency) {
	p.line(name, "p50 %.3f ms, p90 %.3f ms, p99 %.3f ms, max %.3f ms", l.P50, l.P90, l.P99, l.Max)
}

func (p *printer) line(name, format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, "%-13s "+format+"\n", append([]any{name}, args...)...)
	}
}
