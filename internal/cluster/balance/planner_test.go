package balance

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// A bench plays one Planner against nodes that a test describes.
type bench struct {
	t       *testing.T
	now     time.Time
	planner *Planner
	nodes   []Node
}

func newBench(t *testing.T, nodes ...Node) *bench {
	for i := range nodes {
		nodes[i].Up = time.Hour
	}
	return &bench{t, time.Unix(1e9, 0), New(Policy{}, nodes[0].Name), nodes}
}

// decide makes the planner decide after a time.
func (b *bench) decide(after time.Duration) Decision {
	b.now = b.now.Add(after)
	for i := range b.nodes {
		b.nodes[i].Up += after
	}
	return b.planner.Decide(b.now, b.nodes)
}

// want checks the reason, and whether somebody is asked.
func (b *bench) want(after time.Duration, why Reason) Decision {
	b.t.Helper()
	d := b.decide(after)
	if d.Reason != why {
		b.t.Errorf("decided to be %v, want %v (%+v)", d.Reason, why, b.nodes)
	}
	if d.Ask > 0 != (len(d.To) > 0) || d.Ask > 0 && why != Adjusting && why != Leaving {
		b.t.Errorf("asks %d devices to go to %v, because %v", d.Ask, d.To, d.Reason)
	}
	sum := 0.0
	for _, to := range d.To {
		if to.Share < 0 || to.Name == b.planner.self {
			b.t.Errorf("to %+v", to)
		}
		sum += to.Share
	}
	if d.Ask > 0 && math.Abs(sum-1) > 1e-9 {
		b.t.Errorf("the shares make %v", sum)
	}
	return d
}

// during sums up what is asked in many decisions, during which nothing changes.
func (b *bench) during(long time.Duration) (asked int) {
	for range int(long / (2500 * time.Millisecond)) {
		asked += b.decide(2500 * time.Millisecond).Ask
	}
	return asked
}

func node(name string, left float64, devices int) Node {
	return Node{Name: name, Left: left, Devices: devices}
}

// loaded returns nodes that hold 100,000 devices each and have these loads.
func loaded(used ...float64) (nodes []Node) {
	for i, u := range used {
		nodes = append(nodes, Node{Name: string(rune('a' + i)), Left: 1 - u, Devices: int(u * 100_000), Up: time.Hour})
	}
	return nodes
}

// A node with less load left than the others asks its share per minute, and no more after a time in which it did not run.
func TestRate(t *testing.T) {
	b := newBench(t, node("a", 0.2, 80_000), node("b", 0.8, 20_000))
	b.want(0, Adjusting)
	if n := b.during(time.Minute); n < 395 || n > 400 {
		t.Errorf("asked %d of 80,000 devices in a minute", n)
	}
	if d := b.want(time.Hour, Adjusting); d.Ask > 400 {
		t.Errorf("asked %d after an hour without a decision", d.Ask)
	}
}

// Between the two thresholds nothing begins, and what has begun goes on.
func TestThresholds(t *testing.T) {
	b := newBench(t, loaded(0.57, 0.43)...)
	b.want(time.Minute, Even)
	b.nodes = loaded(0.59, 0.41)
	b.want(time.Minute, Adjusting)
	b.nodes = loaded(0.55, 0.45)
	b.want(time.Minute, Adjusting)
	b.nodes = loaded(0.539, 0.461)
	b.want(time.Minute, Cooling)
	b.nodes = loaded(0.7, 0.3)
	b.want(time.Minute, Cooling)
	b.want(5*time.Minute, Adjusting)
}

// What has been asked to go does not have to go once more before it has come to the other node.
func TestOnTheirWay(t *testing.T) {
	b := newBench(t, node("a", 0.46, 54_000), node("b", 0.7, 30_000))
	b.want(time.Minute, Adjusting)
	b.nodes[0].Moving = 20_000
	b.want(time.Minute, Cooling)
}

// A node that joins a hundred others takes a little from each, and not more per minute than it can stand.
func TestOneAmongMany(t *testing.T) {
	nodes := []Node{node("new", 1, 0)}
	for i := range 100 {
		nodes = append(nodes, node("n"+string(rune('0'+i/10))+string(rune('0'+i%10)), 0.4, 60_000))
	}
	b := newBench(t, nodes...)
	b.want(time.Minute, Even) // it has none to give
	b.planner = New(Policy{}, "n00")
	b.want(0, Adjusting)
	asked := 0
	for range 60 {
		d := b.decide(time.Second)
		if asked += d.Ask; d.Ask > 0 && (len(d.To) != 1 || d.To[0].Name != "new") {
			t.Fatalf("to %v", d.To)
		}
	}
	if asked < 45 || asked > 50 { // a hundredth of 5% of 100,000
		t.Errorf("one of a hundred asked %d devices in a minute", asked)
	}
}

// A node that has just come gives and takes nothing; and when one has gone, the others wait until its devices have come back.
func TestSettling(t *testing.T) {
	b := newBench(t, node("a", 0.2, 80_000), node("b", 0.8, 20_000), node("c", 0.5, 50_000))
	b.want(0, Adjusting)
	b.nodes = b.nodes[:2]
	b.want(time.Second, Settling)
	b.want(90*time.Second, Settling)
	b.want(60*time.Second, Cooling)
	b.want(5*time.Minute, Adjusting)
	b.nodes[1].Up = 0
	b.want(time.Second, Settling)
	b.want(90*time.Second, Settling) // its last life has ended, and this one is new
	b.nodes[0].Up, b.nodes[1].Up = 0, time.Hour
	b.want(time.Second, Settling)
	b.nodes = b.nodes[:1]
	b.want(time.Hour, Settling)
	b.want(time.Hour, Alone)
}

// Devices that a balancer always sends back are not asked for ever.
func TestInVain(t *testing.T) {
	b := newBench(t, node("a", 0.3, 70_000), node("b", 0.7, 30_000))
	first := b.during(24 * time.Hour)
	if first < 16_000 {
		t.Errorf("asked %d devices in a day", first)
	}
	b.during(6 * 24 * time.Hour)
	if n := b.during(24 * time.Hour); n > first/4 {
		t.Errorf("asked %d devices on the first day, and %d after a week in which none has stayed away", first, n)
	}
}

// A node that is drained gives what the others have room for, by their room, and waits when there is none.
func TestLeave(t *testing.T) {
	b := newBench(t, node("a", 0.5, 50_000), node("b", 0.45, 55_000), node("c", 0.85, 15_000))
	b.nodes[0].Leaving = true
	b.nodes[2].Up = time.Second // it may be new
	b.want(0, Leaving)
	d := b.want(time.Second, Leaving)
	if d.Ask != 500 || math.Abs(d.To[0].Share-1.0/3) > 1e-9 || d.To[0].Name != "b" {
		t.Errorf("%+v", d)
	}
	b.nodes[1].Left, b.nodes[2].Left = 0.04, 0.06
	if d = b.want(time.Minute, Leaving); d.Ask > 1100 {
		t.Errorf("asks %d to go where there is room for 1,000", d.Ask)
	}
	b.nodes[2].Left = 0.05
	b.want(time.Second, Full)
	b.nodes[2].Left = 0.9
	b.nodes[1].Leaving = true
	b.want(time.Second, Leaving)
	b.nodes[2].Leaving = true
	b.want(time.Second, Alone)
}

// While a node is drained the others leave each other alone.
func TestLeaveDisturbsNobody(t *testing.T) {
	b := newBench(t, node("a", 0.2, 80_000), node("b", 0.8, 20_000), node("c", 0.5, 1))
	b.nodes[2].Leaving = true
	b.want(time.Second, Settling)
	b.nodes[2].Devices = 0
	b.want(time.Second, Adjusting)
}

// The load is that of the resource that will be short first.
func TestLoad(t *testing.T) {
	for _, c := range []struct {
		load Load
		left float64
	}{
		{Load{}, 1},
		{Load{CPU: 0.25, Memory: 0.5, Connections: 0.125}, 0.5},
		{Load{CPU: 0.75, Memory: 0.5}, 0.25},
		{Load{Connections: 0.875}, 0.125},
		{Load{Lag: 50 * time.Millisecond}, 0.5},
		{Load{Lag: time.Hour}, 0},
		{Load{CPU: 1.5}, 0},
		{Load{CPU: -1}, 1},
		{Load{Memory: math.NaN()}, 1},
	} {
		if got := c.load.Left(); got != c.left {
			t.Errorf("%+v leaves %v, want %v", c.load, got, c.left)
		}
	}
}

// Whatever nodes say of themselves, a decision asks no more devices than there are and its bounds allow.
func TestNonsense(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	odd := []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 2, 0, 1, 0.5}
	for range 5_000 {
		p := New(Policy{}, "a")
		now := time.Unix(1e9, 0)
		for range 3 {
			nodes := []Node{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}}[:1+random.IntN(4)]
			for i := range nodes {
				n := &nodes[i]
				n.Left, n.Devices, n.Moving = odd[random.IntN(len(odd))], random.IntN(1000)*random.IntN(1000)-1000, random.IntN(3)*random.IntN(1e6)-1
				n.Up, n.Leaving = time.Duration(random.IntN(10))*time.Minute, random.IntN(4) == 0
			}
			now = now.Add(time.Duration(random.IntN(100)) * time.Second)
			d := p.Decide(now, nodes)
			most := max(0, nodes[0].Devices)
			if !nodes[0].Leaving {
				most = int(0.005*float64(most)) + 1
			}
			if d.Ask < 0 || d.Ask > most {
				t.Fatalf("%+v of %+v", d, nodes)
			}
		}
	}
}
