package balance

import (
	"math/rand/v2"
	"testing"
	"time"
)

// A house is a node of TestThree with its devices by name, the one that came last at the end.
type house struct {
	Node
	planner  *Planner
	devices  []int
	smoothed float64
	born     time.Time
}

// traveller is a device on its way.
type traveller struct {
	device   int
	at       time.Time
	from, to *house
}

// trio is a cluster of three nodes that hold 20,000 devices each.
type trio struct {
	random *rand.Rand
	now    time.Time
	houses []*house
	roads  []traveller
	moved  map[int]int // how often each device was asked to go
}

// step lets 2.5 s pass: every node renews its lease and decides.
func (w *trio) step() {
	w.now = w.now.Add(2500 * time.Millisecond)
	var still []traveller
	for _, t := range w.roads {
		if t.at.After(w.now) {
			still = append(still, t)
			continue
		}
		t.from.Moving--
		t.to.devices = append(t.to.devices, t.device)
	}
	w.roads = still
	var told []Node
	for _, h := range w.houses {
		h.smoothed += (float64(len(h.devices))/20_000 - h.smoothed) / 12
		h.Left, h.Devices, h.Up = 1-h.smoothed+w.random.NormFloat64()*0.002, len(h.devices), w.now.Sub(h.born)
		told = append(told, h.Node)
	}
	for _, h := range w.houses {
		w.ask(h, h.planner.Decide(w.now, told))
	}
}

// ask makes the devices of a house that came last go where they should.
func (w *trio) ask(h *house, d Decision) {
	for range d.Ask {
		last := len(h.devices) - 1
		device := h.devices[last]
		h.devices = h.devices[:last]
		h.Moving++
		w.moved[device]++
		w.roads = append(w.roads, traveller{device, w.now.Add(time.Duration(w.random.IntN(10_000)) * time.Millisecond), h, w.pick(d.To)})
	}
}

func (w *trio) pick(to []Target) *house {
	at := w.random.Float64()
	for _, t := range to {
		at -= t.Share
		for _, h := range w.houses {
			if h.Name == t.Name && (at < 0 || t == to[len(to)-1]) {
				return h
			}
		}
	}
	return nil
}

func (w *trio) add(name string, devices int) *house {
	h := &house{Node: Node{Name: name}, planner: New(Policy{}, name), born: w.now, smoothed: float64(devices) / 20_000}
	for range devices {
		h.devices = append(h.devices, len(w.houses)*15_000+len(h.devices))
	}
	w.houses = append(w.houses, h)
	return h
}

// check checks how many devices were asked, and that none was twice. It forgets them.
func (w *trio) check(t *testing.T, what string, needed int) {
	t.Helper()
	n := 0
	for device, times := range w.moved {
		if n += times; times > 1 {
			t.Errorf("%s: device %d was asked %d times to go", what, device, times)
			break
		}
	}
	t.Logf("%s: %d devices were asked, %.3f of those needed", what, n, float64(n)/float64(needed))
	if float64(n) > 1.2*float64(needed) || n < needed*9/10 {
		t.Errorf("%s: %d devices were asked, %d are needed", what, n, needed)
	}
	clear(w.moved)
}

// A node joins two others that have 30,000 devices, gets what it should have, and is drained again: no device moves twice.
func TestThree(t *testing.T) {
	w := &trio{random: rand.New(rand.NewPCG(3, 4)), now: time.Unix(1e9, 0), moved: make(map[int]int)}
	w.add("a", 15_000)
	w.add("b", 15_000)
	for range 1000 {
		w.step()
	}
	w.check(t, "before", 0)
	c := w.add("c", 0)
	joined := w.now
	for quiet := 0; quiet < 1000; quiet++ {
		if len(w.roads) > 0 {
			quiet = 0
		}
		w.step()
	}
	needed := int((0.5 - Policy{}.WithDefaults().Stop) * 20_000) // an even cluster is half full
	t.Logf("c has %d devices after %v", len(c.devices), w.now.Sub(joined)-1000*2500*time.Millisecond)
	w.check(t, "a node joins", needed)

	c.Leaving = true
	needed = len(c.devices)
	began := w.now
	for len(c.devices)+len(w.roads) > 0 {
		if w.step(); w.now.Sub(began) > time.Hour {
			t.Fatalf("%d devices are left", len(c.devices))
		}
	}
	t.Logf("c is empty after %v", w.now.Sub(began))
	for range 3000 {
		w.step()
	}
	w.check(t, "it is drained", needed)
	if a, b := len(w.houses[0].devices), len(w.houses[1].devices); a+b != 30_000 {
		t.Errorf("%d and %d devices are there", a, b)
	}
}
