package balance

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

var (
	schedules = flag.Int("schedules", 3, "how many schedules TestSchedules plays")
	seed      = flag.Uint64("seed", 1, "seed of its first schedule")
)

const (
	simNodes   = 100
	simDevices = 10_000_000
	fewest     = 60 // nodes that are always alive
)

// Whatever comes, goes and flaps: the cluster becomes even, and no more devices move than 1.2 times those that had to.
func TestSchedules(t *testing.T) {
	var mu sync.Mutex
	var ratios []float64
	var most time.Duration
	moves, gained := 0.0, 0.0
	next := make(chan uint64)
	var players sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		players.Go(func() {
			for i := range next {
				w, took, err := play(i)
				mu.Lock()
				if err != nil {
					t.Errorf("schedule %d: %v", i, err)
				}
				if w.moves > 0 {
					ratios = append(ratios, w.moves/w.gained)
				}
				most = max(most, took)
				moves, gained = moves+w.moves, gained+w.gained
				mu.Unlock()
			}
		})
	}
	for i := range *schedules {
		next <- *seed + uint64(i)
	}
	close(next)
	players.Wait()
	slices.Sort(ratios)
	if len(ratios) == 0 {
		t.Fatal("no schedule had moves")
	}
	t.Logf("%d schedules, %d with moves: %.0f million devices moved, %.3f of those needed; median %.3f, worst %.3f; even after %v at the latest",
		*schedules, len(ratios), moves/1e6, moves/gained, ratios[len(ratios)/2], ratios[len(ratios)-1], most)
}

// An event of a schedule.
type event struct {
	at   time.Duration
	node int
	do   func(*world, *simNode)
}

// play plays the schedule of a seed until the cluster has been even for an hour after the last event, and returns how long that took.
func play(seed uint64) (*world, time.Duration, error) {
	w, events := newSchedule(seed)
	begin := w.now
	for len(events) > 0 {
		for len(events) > 0 && w.now.Sub(begin) >= events[0].at {
			events[0].do(w, w.nodes[events[0].node])
			events = events[1:]
		}
		w.tick()
		if n := w.total(); n != simDevices {
			return w, 0, fmt.Errorf("%d devices are there", n)
		}
	}
	ended := w.now
	w.last = ended
	for w.now.Sub(w.last) < time.Hour || w.leaving() {
		w.tick()
		if w.now.Sub(ended) > 24*time.Hour {
			return w, 0, fmt.Errorf("devices still move a day after the last event")
		}
	}
	if !w.even(3 * w.noise) {
		return w, 0, fmt.Errorf("the loads differ, and nothing moves")
	}
	if w.moves > 1.2*w.gained {
		return w, 0, fmt.Errorf("%.0f devices moved, %.3f of those needed", w.moves, w.moves/w.gained)
	}
	return w, w.last.Sub(ended), nil
}

// newSchedule makes a cluster and what happens to it.
func newSchedule(seed uint64) (*world, []event) {
	random := rand.New(rand.NewPCG(seed, 14))
	w := &world{
		random: random,
		policy: Policy{}.WithDefaults(),
		now:    time.Unix(1e9, 0),
		step:   30 * time.Second,
		stray:  []float64{0, 0.02, 0.05}[random.IntN(3)],
		noise:  []float64{0, 0.002, 0.005}[random.IntN(3)],
	}
	unlike := random.Float64() < 0.5
	for range simNodes {
		holds := 1.5 + random.Float64() // the cluster is 40% to 60% full
		if unlike {
			holds *= []float64{0.5, 1, 1.5}[random.IntN(3)]
		}
		w.add(holds * simDevices / simNodes)
	}
	absent := random.IntN(simNodes - fewest)
	for _, n := range w.nodes[absent:] {
		w.start(n)
		n.up = n.up.Add(-time.Hour)
	}
	w.spread(simDevices)
	w.now = w.now.Add(time.Minute)
	w.arrive()
	for _, n := range w.nodes {
		n.smoothed = float64(n.devices) / n.holds
	}
	return w, happen(random, absent)
}

// happen returns what happens within six hours: nodes come, go, are drained, and flap.
func happen(random *rand.Rand, absent int) []event {
	var events []event
	at := func(from time.Duration, within time.Duration) time.Duration {
		return from + time.Duration(random.Float64()*float64(within))
	}
	start := func(t time.Duration, node int) {
		events = append(events, event{t, node, func(w *world, n *simNode) {
			if !n.alive {
				w.start(n)
			}
		}})
	}
	end := func(t time.Duration, node int) {
		events = append(events, event{t, node, func(w *world, n *simNode) {
			if n.alive && len(w.serving()) > fewest {
				w.kill(n)
			}
		}})
	}
	leave := func(t time.Duration, node int) {
		events = append(events, event{t, node, func(w *world, n *simNode) {
			if n.alive && len(w.serving()) > fewest {
				n.leaving = true
			}
		}})
	}
	for node := range absent {
		if random.Float64() < 0.8 {
			start(at(0, 6*time.Hour), node)
		}
	}
	for range random.IntN(12) {
		node, t := random.IntN(simNodes), at(0, 6*time.Hour)
		switch random.IntN(4) {
		case 0: // a node dies, and may come back
			end(t, node)
			if random.Float64() < 0.5 {
				start(at(t, time.Hour), node)
			}
		case 1: // it is drained, and may come back
			leave(t, node)
			end(at(t+10*time.Minute, 10*time.Minute), node)
			if random.Float64() < 0.5 {
				start(at(t+20*time.Minute, time.Hour), node)
			}
		case 2: // it flaps
			for range 1 + random.IntN(20) {
				end(t, node)
				t = at(t, 5*time.Minute)
				start(t, node)
				t = at(t, 10*time.Minute)
			}
		case 3: // a rack goes, and comes back
			for i := range 1 + random.IntN(10) {
				end(at(t, time.Minute), (node+i)%simNodes)
				start(at(t+time.Minute, 30*time.Minute), (node+i)%simNodes)
			}
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return int(a.at - b.at) })
	return events
}

// serving returns the nodes that are alive and not drained.
func (w *world) serving() (all []*simNode) {
	for _, n := range w.nodes {
		if n.alive && !n.leaving {
			all = append(all, n)
		}
	}
	return all
}

// leaving reports whether a node that is drained still has devices.
func (w *world) leaving() bool {
	return slices.ContainsFunc(w.nodes, func(n *simNode) bool { return n.alive && n.leaving && n.devices > 0 })
}
