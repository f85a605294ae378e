package session

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/store"
)

const shared = "$share/g/a"

// member connects a device of the group.
func (w *world) member(device string, o Options) *conn {
	w.t.Helper()
	c := w.connect(device, o)
	c.sub(1, 1, shared)
	c.saw("hello resumed=false missed=0", "ack 1")
	return c
}

func (w *world) publishAll(payloads ...string) {
	w.t.Helper()
	for _, p := range payloads {
		expect(w.t, "publication", w.publish("a", p, 1).String(), "taken")
	}
}

func TestShareAmongDevices(t *testing.T) {
	w := newWorld(t, Config{})
	w.retain("a", "retained")
	a, b := w.member("a", Options{}), w.member("b", Options{}) // neither gets what is retained
	plain := w.connect("p", Options{})
	plain.sub(1, 0, "a")
	w.publishAll("0", "1", "2", "3")
	plain.saw("hello resumed=false missed=0", "ack 1", "a=retained qos 0",
		"a=0 qos 0", "a=1 qos 0", "a=2 qos 0", "a=3 qos 0")
	for a.step() || b.step() {
	}
	got := slices.Concat(a.log, b.log)
	slices.Sort(got)
	expect(t, "each", len(a.log), 2)
	expect(t, "together", fmt.Sprint(got), "[a=0 qos 1 a=1 qos 1 a=2 qos 1 a=3 qos 1]")
}

func TestRefusesBadShares(t *testing.T) {
	c := newWorld(t, Config{}).connect("d", Options{})
	for i, f := range []string{"$share/g", "$share//a", "$share/g/", "$share/+/a"} {
		c.sub(uint64(i), 1, f)
	}
	c.saw("hello resumed=false missed=0", "ack 0 invalid_filter", "ack 1 invalid_filter",
		"ack 2 invalid_filter", "ack 3 invalid_filter")
}

// A device leaves with a message of a share that it was sent and one that it was not: who
// gets them.
func TestLeavesShare(t *testing.T) {
	for _, test := range []struct {
		name         string
		ends, online bool // its session ends; the other device of the group is on line
		other        bool // gets them
	}{
		{"for a while, another is there", false, true, true},
		{"for a while, nobody is there", false, false, false},
		{"for good, another is there", true, true, true},
		{"for good, nobody is there", true, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, Config{})
			var stay time.Duration
			if !test.ends {
				stay = time.Hour
			}
			leaves := w.member("leaves", Options{Expiry: &stay})
			leaves.room = 1
			w.publishAll("sent", "queued")
			leaves.saw("a=sent qos 1")
			other := w.member("other", Options{})
			if !test.online {
				other.leave("gone")
			}
			leaves.leave("gone")

			messages := []string{"a=sent qos 1", "a=queued qos 1"}
			here, there := messages, []string(nil)
			if test.other {
				here, there = nil, messages
			}
			if !test.online {
				there = append([]string{"hello resumed=true missed=0"}, there...)
				other = w.connect("other", Options{})
			}
			other.saw(there...)
			again := w.connect("leaves", Options{})
			again.saw(append([]string{fmt.Sprintf("hello resumed=%t missed=0", !test.ends)}, here...)...)
			expect(t, "drops", len(w.drops()), 0)
		})
	}
}

// A new session in place of the old one leaves the old one's messages to the others.
func TestCleanStartLeavesShare(t *testing.T) {
	w := newWorld(t, Config{})
	w.member("leaves", Options{})
	w.publishAll("x")
	other := w.member("other", Options{})
	w.connect("leaves", Options{Clean: true}).saw("hello resumed=false missed=0")
	other.saw("a=x qos 1")
}

// The last of a group takes its messages with it, and they are counted.
func TestLastOfShareEnds(t *testing.T) {
	w := newWorld(t, Config{}, store.Limits{Count: 1})
	var brief time.Duration
	last := w.member("last", Options{Expiry: &brief})
	w.publishAll("0")
	o := w.publish("a", "1", 1)
	expect(t, "second", o.String(), "waits")
	last.leave("gone")
	expect(t, "second", o.String(), "taken")
	expect(t, "dropped", w.drops()["session_ended"], 2)
	expect(t, "subscriptions", w.router.Stats().Subscriptions, 0)
}

// A publisher that waits at a full device goes on at another when that one leaves.
func TestWaitsForShare(t *testing.T) {
	w := newWorld(t, Config{}, store.Limits{Count: 1})
	leaves := w.member("leaves", Options{})
	w.publishAll("0")
	o := w.publish("a", "1", 1)
	expect(t, "second", o.String(), "waits")
	other := w.member("other", Options{})
	leaves.leave("gone")
	other.saw("a=0 qos 1")
	expect(t, "second", o.String(), "waits")
	other.ack(0)
	other.saw("a=1 qos 1")
	expect(t, "second", o.String(), "taken")
	w.connect("leaves", Options{}).saw("hello resumed=true missed=0")
	expect(t, "drops", len(w.drops()), 0)
}

// [MQTT-4.8.2-4] [MQTT-4.8.2-5]: a QoS 2 message that was sent is for that device only; one
// that was not may go to another.
func TestExactlyOnceStays(t *testing.T) {
	w := newWorld(t, Config{InFlight: 1})
	leaves := w.client("leaves", Options{})
	leaves.subscribe(filter(shared, 2))
	w.publish("a", "sent", 2)
	w.publish("a", "queued", 2)
	leaves.saw(fresh, "a=sent qos 2 id 1")
	other := w.client("other", Options{})
	other.subscribe(filter(shared, 2))
	leaves.leave("gone")
	other.saw(fresh, "a=queued qos 2 id 1")
	again := w.client("leaves", Options{})
	again.saw(resumed, "a=sent qos 2 id 1 again")

	var brief time.Duration
	again.link.SetExpiry(brief)
	again.leave("gone")
	other.saw()
	expect(t, "dropped", w.drops()["session_ended"], 1)
}

// Each member gets the identifier of its own subscription, also of a message that another
// had before.
func TestShareHasIdentifiers(t *testing.T) {
	w := newWorld(t, Config{})
	leaves := w.client("leaves", Options{})
	five, six := filter(shared, 1), filter(shared, 1)
	five.ID, six.ID = 5, 6
	leaves.subscribe(five)
	w.publishAll("x")
	leaves.saw(fresh, "a=x qos 1 id 1 for [5]")
	other, third := w.client("other", Options{}), w.client("third", Options{})
	other.subscribe(six)
	leaves.leave("gone")
	other.saw(fresh, "a=x qos 1 id 1 for [6]")
	third.subscribe(filter(shared, 1))
	other.leave("gone")
	third.saw(fresh, "a=x qos 1 id 1")
}

// Of two groups that gave a device the same message, each keeps its own when the other's goes
// elsewhere.
func TestLeavesOneShareOfTwo(t *testing.T) {
	w := newWorld(t, Config{})
	leaves, other := w.client("leaves", Options{}), w.client("other", Options{})
	five, six := filter("$share/h/a", 1), filter(shared, 1)
	five.ID, six.ID = 5, 6
	leaves.subscribe(five, six)
	w.publishAll("x")
	leaves.saw(fresh, "a=x qos 1 id 1 for [5]", "a=x qos 1 id 2 for [6]")
	other.subscribe(six)
	leaves.leave("gone")
	other.saw(fresh, "a=x qos 1 id 1 for [6]")
	w.client("leaves", Options{}).saw(resumed, "a=x qos 1 id 1 again for [5]")
}

// What a device that leaves a group has of other subscriptions expires as if it had not.
func TestLeavesShareWithExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		leaves, other := w.client("leaves", Options{}), w.client("other", Options{})
		leaves.subscribe(filter(shared, 1), filter("b", 2))
		other.subscribe(filter(shared, 1))
		leaves.room = 0
		w.connect("p", Options{}).handle(pubExpiring("b", "x", 2, time.Second))
		leaves.leave("gone")
		time.Sleep(2 * time.Second)
		w.client("leaves", Options{}).saw(resumed)
		expect(t, "expired", w.drops()["expired"], 1)
		w.manager.Close()
	})
}

// Devices of a group come, go for a while or for good, get and acknowledge in any order: in
// the end each message was acknowledged, by one of them, once.
func TestShareAcknowledgesEachOnce(t *testing.T) {
	for seed := range uint64(200) {
		if g := newShuffle(t, seed); !g.run(400) {
			t.Fatalf("with seed %d", seed)
		}
	}
}

// shuffle is a group whose devices do things at random, one at a time.
type shuffle struct {
	*world
	random   *rand.Rand
	conns    [4]*conn // nil while the device is away
	outcomes []*outcome
	done     map[uint64]int // how often each message was acknowledged, by ID
}

func newShuffle(t *testing.T, seed uint64) *shuffle {
	w := newWorld(t, Config{InFlight: 3}, store.Limits{Count: 6})
	return &shuffle{world: w, random: rand.New(rand.NewPCG(seed, 0)), done: map[uint64]int{}}
}

func (g *shuffle) run(steps int) bool {
	g.come(0) // and stays: there is always somebody
	for range steps {
		d := 1 + g.random.IntN(len(g.conns)-1)
		switch g.random.IntN(8) {
		case 0:
			g.come(d)
		case 1:
			g.go_(d)
		case 2, 3, 4:
			g.publishOne()
		default:
			g.work(g.random.IntN(len(g.conns)))
		}
	}
	for d := range g.conns {
		g.come(d)
	}
	for busy := true; busy; {
		busy = false
		for d := range g.conns {
			busy = g.work(d) || busy
		}
	}
	return g.complete()
}

// come connects a device that is away, with a session that ends when it leaves, or not.
func (g *shuffle) come(d int) {
	if g.conns[d] != nil {
		return
	}
	stay := time.Duration(g.random.IntN(2)) * time.Hour
	g.conns[d] = g.connect(strconv.Itoa(d), Options{Expiry: &stay})
	g.conns[d].sub(1, 1, shared)
}

func (g *shuffle) go_(d int) {
	if c := g.conns[d]; c != nil {
		g.conns[d] = nil
		c.leave("gone")
	}
}

func (g *shuffle) publishOne() {
	g.outcomes = append(g.outcomes, g.publish("a", "x", 1))
}

// work has a device's loop run once and the device acknowledge one message.
func (g *shuffle) work(d int) bool {
	c := g.conns[d]
	if c == nil {
		return false
	}
	stepped := c.step()
	if len(c.owed) == 0 {
		return stepped
	}
	n := g.random.IntN(len(c.owed))
	g.done[c.owed[n]]++
	c.ack(n)
	return true
}

func (g *shuffle) complete() bool {
	for n, o := range g.outcomes {
		if o.String() != "taken" {
			g.t.Errorf("publisher %d: %v", n, o)
		}
	}
	for id, n := range g.done {
		if n != 1 {
			g.t.Errorf("message %d was acknowledged %d times", id, n)
		}
	}
	expect(g.t, "messages", len(g.done), len(g.outcomes))
	if len(g.drops()) > 0 {
		g.t.Errorf("drops %v", g.drops())
	}
	return !g.t.Failed()
}
