package service

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/longline/longline/internal/registry"
)

func instances(weights ...int) (all []*instance) {
	for n, w := range weights {
		all = append(all, &instance{Instance: registry.Instance{URL: fmt.Sprint("http://", n), Weight: w}})
	}
	return all
}

// Over many choices each instance has its share.
func TestShares(t *testing.T) {
	now := time.Now()
	for _, policy := range []string{RoundRobin, Random} {
		c, all := newChooser(policy), instances(1, 2, 5)
		c.rng = rand.New(rand.NewPCG(1, 2)).IntN
		counts := map[*instance]int{}
		for range 8000 {
			counts[c.choose(all, nil, now)]++
		}
		for _, i := range all {
			if n, want := counts[i], 1000*i.Weight; n < want*9/10 || n > want*11/10 || policy == RoundRobin && n != want {
				t.Errorf("%s: weight %d is chosen %d times of 8000", policy, i.Weight, n)
			}
		}
	}
}

// The round robin does not send all calls of a heavy instance in a row.
func TestRoundRobinIsSmooth(t *testing.T) {
	c, all, order := newChooser(RoundRobin), instances(4, 1, 1), ""
	for range 6 {
		order += c.choose(all, nil, time.Now()).URL[len("http://"):]
	}
	if order != "001020" {
		t.Errorf("order %s", order)
	}
}

// One of four instances is ten times slower: by response time it gets few calls, in turn a quarter. When it is as quick as the
// others it gets its share again.
func TestResponseTime(t *testing.T) {
	c, all := newChooser(ResponseTime), instances(1, 1, 1, 1)
	c.rng = rand.New(rand.NewPCG(1, 2)).IntN
	now := time.Now()
	load := func(slow time.Duration) (share float64) {
		const calls = 20_000
		n := 0
		for range calls {
			i := c.choose(all, nil, now)
			took := 10 * time.Millisecond
			if i == all[0] {
				n++
				took = slow
			}
			i.observe(took, now.Add(took))
			now = now.Add(time.Millisecond)
		}
		return float64(n) / calls
	}
	if share := load(100 * time.Millisecond); share > 0.01 {
		t.Errorf("a slow instance gets %.3f of the calls", share)
	}
	load(10 * time.Millisecond)
	if share := load(10 * time.Millisecond); share < 0.1 || share > 0.4 {
		t.Errorf("the instance gets %.3f of the calls when it is quick again", share)
	}
}

// world is calls of four instances at 2,000 per second, in time that is not real. Instances take 5 ms, and the first one ten times as long.
// Noise comes as on a busy machine: calls come in bursts, one of 200 takes 60 ms longer, and each second all stand still for 40 ms.
type world struct {
	rng   *rand.Rand
	all   []*instance
	now   time.Time
	calls calls // under way
}

type underWay struct {
	at, begin time.Time
	by        *instance
}

// calls is a heap by the time of the answer.
type calls []underWay

func (c calls) Len() int           { return len(c) }
func (c calls) Less(a, b int) bool { return c[a].at.Before(c[b].at) }
func (c calls) Swap(a, b int)      { c[a], c[b] = c[b], c[a] }
func (c *calls) Push(x any)        { *c = append(*c, x.(underWay)) }
func (c *calls) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// begin sends a call to an instance.
func (w *world) begin(i *instance) {
	takes := 5 * time.Millisecond
	if i == w.all[0] {
		takes *= 10
	}
	takes += time.Duration(w.rng.ExpFloat64() * float64(takes) / 10)
	if w.rng.IntN(200) == 0 {
		takes += 60 * time.Millisecond
	}
	at := w.now.Add(takes)
	if stop := at.Truncate(time.Second); at.Sub(stop) < 40*time.Millisecond { // nobody answers meanwhile
		at = stop.Add(40*time.Millisecond + time.Duration(w.rng.IntN(1e6)))
	}
	i.underWay.Add(1)
	heap.Push(&w.calls, underWay{at, w.now, i})
}

// advance ends the calls that are answered by then.
func (w *world) advance(by time.Time) {
	for len(w.calls) > 0 && !w.calls[0].at.After(by) {
		a := heap.Pop(&w.calls).(underWay)
		a.by.underWay.Add(-1)
		a.by.observe(a.at.Sub(a.begin), a.at)
	}
	w.now = by
}

// Also when calls come in bursts and quick instances are slow now and then, the slow instance gets less than one of a hundred calls, so that
// it does not make the 99th percentile.
func TestResponseTimeInNoise(t *testing.T) {
	for seed := range uint64(5) {
		w := &world{rng: rand.New(rand.NewPCG(seed, 7)), all: instances(1, 1, 1, 1), now: time.Unix(1_000, 0)}
		c := newChooser(ResponseTime)
		c.rng = w.rng.IntN
		const total = 40_000
		ofSlow := 0
		for n := 0; n < total; {
			burst := 1 + w.rng.IntN(20)
			for range burst {
				i := c.choose(w.all, nil, w.now)
				if i == w.all[0] {
					ofSlow++
				}
				w.begin(i)
			}
			n += burst
			w.advance(w.now.Add(time.Duration(burst) * 500 * time.Microsecond))
		}
		if ofSlow > total/100 {
			t.Errorf("the slow instance gets %.2f%% of the calls", 100*float64(ofSlow)/total)
		}
	}
}

// Slow calls that were under way together count once, later ones and failures again.
func TestSlowCallsTogether(t *testing.T) {
	i, begin := instances(1)[0], time.Unix(1_000, 0)
	const quick, slow = 5 * time.Millisecond, 60 * time.Millisecond
	at := begin
	check := func(what string, want time.Duration) {
		t.Helper()
		if got := i.info(at).Latency; got < want*9/10 || got > want*11/10 {
			t.Errorf("%s: %v, want about %v", what, got, want)
		}
	}
	answers := func(took time.Duration, n int) {
		for range n {
			i.observe(took, at)
		}
	}
	answers(quick, 1)
	check("the first", quick)
	at = begin.Add(slow)
	answers(slow, 3)
	check("slow ones together", slow)
	answers(quick, 80)
	check("many quick ones", quick)
	at = at.Add(slow / 2)
	answers(slow, 3)
	check("a slow one that was under way before", quick)
	at = at.Add(slow)
	answers(slow, 1)
	check("a slow one that began later", slow)
	i.blame(quick, at)
	check("a failure", failureTakes)
}

// Least prefers the instance with fewer calls for its weight.
func TestLeast(t *testing.T) {
	c, all := newChooser(Least), instances(1, 3)
	for range 40 {
		c.choose(all, nil, time.Now()).underWay.Add(1)
	}
	if n := all[0].underWay.Load(); n < 9 || n > 11 {
		t.Errorf("%d and %d calls", n, all[1].underWay.Load())
	}
}

// What was tried, and what is left out, is not chosen.
func TestNotChosen(t *testing.T) {
	now := time.Now()
	for _, policy := range choices {
		c, all := newChooser(policy), instances(1, 1, 1)
		all[0].eject(time.Second, time.Minute, now)
		for range 20 {
			if i := c.choose(all, all[1:2], now); i != all[2] {
				t.Errorf("%s: %v is chosen", policy, i)
			}
		}
		if c.choose(all, all, now) != nil {
			t.Errorf("%s: one is chosen again", policy)
		}
		if c.choose(all[:1], nil, now.Add(time.Second)) != all[0] {
			t.Errorf("%s: it is left out for too long", policy)
		}
	}
}

// Each time in a row an instance is left out for twice as long.
func TestPauses(t *testing.T) {
	i, now := instances(1)[0], time.Now()
	for n, want := range []time.Duration{2, 4, 8, 9, 9} {
		if tooOften := i.fail(100); tooOften != (n > 0) {
			t.Errorf("failure %d: left out %t", n, tooOften)
		}
		i.eject(2*time.Second, 9*time.Second, now)
		if got := i.ejected.Sub(now); got != want*time.Second {
			t.Errorf("time %d: %v, want %vs", n, got, want)
		}
		now = i.ejected
	}
	i.succeed()
	if i.eject(2*time.Second, 9*time.Second, now); i.ejected.Sub(now) != 2*time.Second {
		t.Error("a success changes nothing")
	}
}
