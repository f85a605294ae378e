package main

import (
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"golang.org/x/sys/unix"
)

// freeMemory returns free memory to the system while the process is quiet, and at each SIGUSR1, which is for
// measurements. It ends when stop is called.
func freeMemory() (stop func()) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGUSR1)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		var q quiet
		tick := time.NewTicker(quietPeriod)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-asked:
				debug.FreeOSMemory()
			case now := <-tick.C:
				if q.frees(now, measure()) {
					debug.FreeOSMemory()
				}
			}
		}
	}()
	return func() {
		signal.Stop(asked)
		close(end)
		<-ended
	}
}

// A process is quiet if it used little processor time in each of the last two periods. Memory is then
// returned, at most once per minute, and only if there is enough to justify a collection.
const (
	quietPeriod  = 10 * time.Second
	quietPeriods = 2
	quietShare   = 4 // a quarter of the processors' time
	freeEvery    = time.Minute
	worthBytes   = 2 << 20
	worthShare   = 8 // an eighth of the heap
)

// usage is the processor time that the process has used so far, and the bytes of its heap.
type usage struct {
	cpu        time.Duration
	live, free uint64 // live: in use at the last collection; free: unused or garbage, not returned to the system
}

// quiet decides when to return memory.
type quiet struct {
	at, freed time.Time // when frees was called last; when memory was returned last
	cpu       time.Duration
	periods   int // quiet periods in a row
}

// frees reports whether the caller should return memory now.
func (q *quiet) frees(now time.Time, u usage) bool {
	most := now.Sub(q.at) * time.Duration(runtime.NumCPU()) / quietShare
	if q.periods++; q.at.IsZero() || u.cpu-q.cpu > most {
		q.periods = 0
	}
	q.at, q.cpu = now, u.cpu
	if q.periods < quietPeriods || now.Sub(q.freed) < freeEvery || u.free < max(worthBytes, (u.live+u.free)/worthShare) {
		return false
	}
	q.freed = now
	return true
}

// measure asks the runtime and the kernel for the present usage.
func measure() (u usage) {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	objects := samples[1].Value.Uint64()
	u.live = min(samples[0].Value.Uint64(), objects)
	u.free = objects - u.live + samples[2].Value.Uint64()
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) == nil {
		u.cpu = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	return u
}
