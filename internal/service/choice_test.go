package service

import (
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
