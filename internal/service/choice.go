package service

import (
	"math"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// instance is a registry.Instance with what is known of it. Safe from any goroutine.
type instance struct {
	// Static.
	registry.Instance
	at *url.URL

	underWay atomic.Int64 // calls

	once    sync.Once // for stub
	stub    longlinev1connect.BackendClient
	methods sync.Map // by path, clients of the gateway's own calls over gRPC

	current int // of the smooth round robin; guarded by chooser.mu

	mu       sync.Mutex
	latency  float64       // peak EWMA, in seconds; 0 while nothing is known
	measured time.Time     // when latency was
	raised   time.Time     // when latency rose
	failures int           // in a row
	ejected  time.Time     // until when it is left out
	pause    time.Duration // how long the last time; 0 after a success
	unwell   bool          // it is left out until it passes a probe
	counts   instanceCounts
}

type instanceCounts struct{ calls, failed, ejected uint64 }

// decay is the time in which the weight of a measurement falls to 1/e, and so does a latency that is not measured
// again: an instance that was slow is tried again after a while.
const decay = 10 * time.Second

// observe notes how long a call took that was answered. A latency above the average counts at once, a lower one as time goes by: an instance that
// slows down is left alone at once, and has to earn its calls again. Of slow calls that were under way together only the first counts, because
// they have one cause: otherwise the instance would have to earn its calls again after the last of them, while its share goes to others that are
// slower all the time.
func (i *instance) observe(took time.Duration, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	t := took.Seconds()
	switch old := i.decayed(now); {
	case i.latency > 0 && t > old && now.Add(-took).Before(i.raised):
		return
	case t > old:
		i.latency, i.raised = t, now
	default:
		w := math.Exp(-max(0, now.Sub(i.measured).Seconds()) / decay.Seconds())
		w = min(w, 0.9) // calls that come in bursts count as well
		i.latency = old*w + t*(1-w)
	}
	i.measured = now
}

// outlasted notes that a caller has waited so long in vain: the latency is no less, if one is known.
func (i *instance) outlasted(took time.Duration, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if t := took.Seconds(); i.latency != 0 && t > i.decayed(now) {
		i.latency, i.measured, i.raised = t, now, now
	}
}

// failureTakes is the least that a failure counts as: an instance that fails quickly is none that is quick.
const failureTakes = time.Second

// blame notes how long a call took that has failed. It counts at once.
func (i *instance) blame(took time.Duration, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.latency = max(i.decayed(now), max(took, failureTakes).Seconds())
	i.measured, i.raised = now, now
}

// decayed returns the latency as it counts now. mu is held.
func (i *instance) decayed(now time.Time) float64 {
	if i.latency == 0 {
		return 0
	}
	return i.latency * math.Exp(-max(0, now.Sub(i.measured).Seconds())/decay.Seconds())
}

// unmeasured is the latency, in seconds, that an instance of which nothing is known is taken to have while it has calls: it gets
// one call, and more when that is answered.
const unmeasured = 1

// cost orders instances: the latency, times the root of the calls under way for the weight. Between two that are equally quick the calls decide. They count by their root
// because the latency has them in already: a burst of calls to a quick instance does not make a slow one the better choice.
func (i *instance) cost(now time.Time) float64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	n, latency := float64(i.underWay.Load()), i.decayed(now)
	if i.latency == 0 && n > 0 {
		latency = unmeasured
	}
	return (latency + 1e-6) * math.Sqrt((n+1)/float64(i.Weight))
}

// usable reports whether the instance is not left out.
func (i *instance) usable(now time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return !i.unwell && !now.Before(i.ejected)
}

// succeed notes a call that the instance has answered.
func (i *instance) succeed() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.failures, i.pause = 0, 0
	i.counts.calls++
}

// fail notes a failure, and reports whether the instance has failed so often in a row that it is to be left out. One that was
// left out and fails again is to be left out at once.
func (i *instance) fail(after int) (tooOften bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.failures++
	i.counts.calls++
	i.counts.failed++
	return i.failures >= after || i.pause > 0
}

// eject leaves the instance out: first for a time, each time in a row for twice as long, up to most.
func (i *instance) eject(first, most time.Duration, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.pause = min(max(2*i.pause, first), most)
	i.ejected, i.failures = now.Add(i.pause), 0
	i.counts.ejected++
}

// readmit ends the time for which the instance is left out.
func (i *instance) readmit() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ejected = time.Time{}
}

// chooser chooses among instances by a policy.
type chooser struct {
	policy string

	mu  sync.Mutex // guards the instances' current
	rng func(n int) int
}

func newChooser(policy string) *chooser { return &chooser{policy: policy, rng: rand.IntN} }

// choose returns one of the instances that are not left out and not in tried; nil if there is none. When more than half of all are left
// out, because others have gone, none is left out.
func (c *chooser) choose(all []*instance, tried []*instance, now time.Time) *instance {
	var room [16]*instance
	free, out := room[:0], 0
	for _, i := range all {
		switch {
		case !i.usable(now):
			out++
		case !contains(tried, i):
			free = append(free, i)
		}
	}
	if 2*out > len(all) {
		free = free[:0]
		for _, i := range all {
			if !contains(tried, i) {
				free = append(free, i)
			}
		}
	}
	switch {
	case len(free) == 0:
		return nil
	case len(free) == 1:
		return free[0]
	}
	switch c.policy {
	case RoundRobin:
		return c.inTurn(free)
	case Random:
		return c.weighted(free)
	}
	a := c.rng(len(free))
	b := c.rng(len(free) - 1)
	if b >= a {
		b++
	}
	return c.better(free[a], free[b], now)
}

// better returns the one of two that costs less.
func (c *chooser) better(a, b *instance, now time.Time) *instance {
	if c.policy == Least {
		if a.underWay.Load()*int64(b.Weight) <= b.underWay.Load()*int64(a.Weight) {
			return a
		}
		return b
	}
	if a.cost(now) <= b.cost(now) {
		return a
	}
	return b
}

// inTurn is the smooth weighted round robin: each gains its weight in each round, and the one with the most pays
// the sum of all.
func (c *chooser) inTurn(free []*instance) (best *instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := 0
	for _, i := range free {
		sum += i.Weight
		if i.current += i.Weight; best == nil || i.current > best.current {
			best = i
		}
	}
	best.current -= sum
	return best
}

// weighted is a random one, by weight.
func (c *chooser) weighted(free []*instance) *instance {
	sum := 0
	for _, i := range free {
		sum += i.Weight
	}
	n := c.rng(sum)
	for _, i := range free {
		if n -= i.Weight; n < 0 {
			return i
		}
	}
	return free[len(free)-1]
}

func contains(list []*instance, i *instance) bool {
	for _, l := range list {
		if l == i {
			return true
		}
	}
	return false
}
