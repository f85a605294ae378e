package gateway

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/longline/longline/internal/cluster/balance"
	"github.com/longline/longline/internal/reactor"
)

// loadOver is the time over which a Meter averages.
const loadOver = 30 * time.Second

// A Meter measures the load of the node. One goroutine calls Sample, about once per second. A sample costs a system call and a post per loop.
type Meter struct {
	// Static after construction.
	gateway *Gateway
	began   time.Time
	lags    []lag // by loop

	// Owned by the goroutine that calls Sample.
	at      time.Time
	cpu     time.Duration
	average balance.Load
}

// lag is when a loop was asked how late it is, and what came of it.
type lag struct {
	asked atomic.Int64 // since Meter.began, in nanoseconds; 0 when it has answered
	last  atomic.Int64 // nanoseconds
}

// NewMeter returns a Meter that knows no load yet.
func (g *Gateway) NewMeter() *Meter {
	now := time.Now()
	return &Meter{gateway: g, began: now, lags: make([]lag, len(g.group.Loops())), at: now, cpu: cpuTime()}
}

// Sample measures, and returns the average load. It does not wait for the loops: their lag is that at the last sample, or how long
// they have not answered.
func (m *Meter) Sample() balance.Load {
	now := time.Now()
	step := now.Sub(m.at)
	if step <= 0 {
		return m.average
	}
	cpu := cpuTime()
	memory := m.gateway.door.Memory()
	open, limit := m.gateway.Load()
	part := min(0.1, step.Seconds()/loadOver.Seconds()) // the process may have been stopped
	mean := func(average *float64, value float64) { *average += (value - *average) * part }
	mean(&m.average.CPU, float64(cpu-m.cpu)/float64(step)/float64(reactor.Processors()))
	mean(&m.average.Memory, float64(memory.Used)/float64(max(memory.Limit, 1)))
	m.average.Connections = float64(open) / float64(max(limit, 1))
	m.average.Lag += time.Duration(float64(min(m.lag(), balance.FullLag)-m.average.Lag) * part)
	m.at, m.cpu = now, cpu
	return m.average
}

// lag returns the longest lag of a loop, and asks all that have answered again.
func (m *Meter) lag() (longest time.Duration) {
	now := time.Since(m.began)
	for i, l := range m.gateway.group.Loops() {
		at := &m.lags[i]
		if asked := at.asked.Load(); asked != 0 {
			longest = max(longest, now-time.Duration(asked))
			continue
		}
		longest = max(longest, time.Duration(at.last.Load()))
		at.asked.Store(int64(now))
		l.Post(reactor.TaskFunc(func(*reactor.Loop) {
			at.last.Store(int64(time.Since(m.began) - now))
			at.asked.Store(0)
		}))
	}
	return longest
}

// cpuTime returns the processor time that the process has used, 0 if the kernel does not say.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
