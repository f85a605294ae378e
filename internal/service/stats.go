package service

import (
	"sync/atomic"
	"time"
)

// The results of calls, in metrics: OK, the codes of refusals that are this package's, and Refused, for the codes that services have.
const (
	OK      = "ok"
	Refused = "refused"
)

var results = []string{OK, Refused, Busy, Unavailable, Timeout, Failed, TooLarge, InvalidAnswer, Canceled}

// counters count the calls of a service. All methods are safe from any goroutine.
type counters struct {
	underWay atomic.Int64
	results  [9]atomic.Uint64 // as in results
	latency  Recorder         // of all that had a turn
}

func (c *counters) end(result string, began time.Time) {
	c.underWay.Add(-1)
	at := 1 // Refused: a code of the service's own
	for n, r := range results {
		if r == result {
			at = n
		}
	}
	c.results[at].Add(1)
	if result != Busy {
		c.latency.Observe(time.Since(began))
	}
}

// resultOf returns the result of Do.
func resultOf(a *Answer, err error) string {
	switch {
	case err != nil:
		return codeOf(err)
	case a.Status/100 != 2:
		return Refused
	}
	return OK
}

// Bounds are the upper bounds of the buckets of a Histogram.
var Bounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Histogram has the number of durations up to each bound.
type Histogram struct {
	UpTo  [len(Bounds)]uint64
	Count uint64
	Sum   time.Duration
}

// Recorder counts durations for a Histogram. The zero value is ready. All methods are safe from any goroutine.
type Recorder struct {
	buckets [len(Bounds) + 1]atomic.Uint64
	sum     atomic.Int64
}

// Observe counts a duration.
func (r *Recorder) Observe(d time.Duration) {
	n := 0
	for n < len(Bounds) && d > Bounds[n] {
		n++
	}
	r.buckets[n].Add(1)
	r.sum.Add(int64(d))
}

// Read returns what was counted.
func (r *Recorder) Read() (all Histogram) {
	for n := range r.buckets {
		all.Count += r.buckets[n].Load()
		if n < len(Bounds) {
			all.UpTo[n] = all.Count
		}
	}
	all.Sum = time.Duration(r.sum.Load())
	return all
}

// Info is what is known of a service at one moment.
type Info struct {
	Name      string
	Serve     bool              // backends answer it through the API
	UnderWay  int               // calls that have no answer yet
	Waiting   int               // of these, calls that wait for a place
	Results   map[string]uint64 // calls that have ended, by result
	Latency   Histogram
	Repeated  uint64
	Ejected   uint64 // times that an instance was left out
	Breaker   string // closed, half-open or open; empty without instances
	Problem   string // why the instances cannot be looked up, or what is left out of them
	Instances []InstanceInfo
	Backends  []BackendInfo // in the order in which they came
}

// InstanceInfo is what is known of an instance.
type InstanceInfo struct {
	URL          string
	Weight       int
	UnderWay     int           // calls
	Latency      time.Duration // as it counts when an instance is chosen; 0 if it is not known
	Calls        uint64        // that have ended with an answer or a failure
	Failed       uint64        // of these, failures
	Ejected      uint64        // times that it was left out
	EjectedUntil time.Time     // zero if it is not left out for failures
	Unwell       bool          // it is left out because it has failed a probe
}

// Info returns what is known of s.
func (s *Service) Info() Info {
	i := Info{
		Name: s.name, Serve: s.served != nil, UnderWay: int(s.counters.underWay.Load()), Results: make(map[string]uint64, len(results)),
		Latency: s.counters.latency.Read(),
	}
	for n, r := range results {
		i.Results[r] = s.counters.results[n].Load()
	}
	if s.pool != nil {
		s.pool.describe(&i)
	} else {
		s.served.describe(&i)
	}
	return i
}

// describe fills in what is known of the instances.
func (p *pool) describe(i *Info) {
	i.Waiting, i.Repeated, i.Ejected = int(p.waiting.Load()), p.repeated.Load(), p.ejected.Load()
	i.Breaker = p.breaker.State()
	p.mu.Lock()
	if p.problem != nil {
		i.Problem = p.problem.Error()
	}
	p.mu.Unlock()
	now := p.now()
	for _, one := range *p.instances.Load() {
		i.Instances = append(i.Instances, one.info(now))
	}
}

func (i *instance) info(now time.Time) InstanceInfo {
	i.mu.Lock()
	defer i.mu.Unlock()
	o := InstanceInfo{
		URL: i.URL, Weight: i.Weight, UnderWay: int(i.underWay.Load()), Latency: time.Duration(i.decayed(now) * float64(time.Second)),
		Calls: i.counts.calls, Failed: i.counts.failed, Ejected: i.counts.ejected, Unwell: i.unwell,
	}
	if now.Before(i.ejected) {
		o.EjectedUntil = i.ejected
	}
	return o
}
