package session

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
)

// arrived connects the devices and returns how often each payload of a topic comes to them, all together.
func (w *world) arrived(name string, devices ...string) map[string]int {
	w.t.Helper()
	got := map[string]int{}
	for again := true; again; { // what is acknowledged makes room for what waits
		again = false
		synctest.Wait() // until what was on its way when the store was opened is where it belongs
		for _, device := range devices {
			c := w.connect(device, Options{})
			for c.step() || len(c.owed) > 0 {
				for len(c.owed) > 0 {
					c.ack(0)
					again = true
				}
			}
			for _, line := range c.log {
				if payload, is := strings.CutPrefix(line, name+"="); is {
					payload, _, _ = strings.Cut(payload, " ")
					got[payload]++
				}
			}
		}
	}
	return got
}

// A device of a share leaves with messages that were acknowledged to their publishers. Wherever a kill meets them on their way to
// another device, each comes to one of the two, once.
func TestKilledWhileMessagesAreRedelivered(t *testing.T) {
	for _, test := range []struct {
		name  string
		other bool // is on line
		count int  // messages that a queue holds
		fill  int  // how many of them the other device's queue has already
		leave func(*client)
	}{
		{"for a while", true, 9, 0, func(c *client) { c.leave("gone") }},
		{"for a while, the other is full", true, 1, 1, func(c *client) { c.leave("gone") }},
		{"for good", true, 9, 0, func(c *client) { c.link.SetExpiry(0); c.leave("gone") }},
		{"for good, nobody is there", false, 9, 0, func(c *client) { c.link.SetExpiry(0); c.leave("gone") }},
		{"for good, the other is full", true, 2, 2, func(c *client) { c.link.SetExpiry(0); c.leave("gone") }},
		{"for a new session", true, 9, 0, func(c *client) { c.world.connect("leaves", Options{Clean: true}) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limits := store.Options{Queue: store.Limits{Count: test.count}}
				w := newWorldOn(t, Config{InFlight: 1}, storetest.NewOnJournal(limits))
				defer w.close()
				leaves := w.client("leaves", Options{})
				leaves.subscribe(filter(shared, 2))
				want := map[string]int{}
				for i := range min(3, test.count) {
					payload := fmt.Sprint("m", i)
					o := w.publish("a", payload, message.QoS(1+i%2))
					synctest.Wait()
					expect(t, payload, o.String(), "taken")
					want[payload] = 1
				}
				other := w.client("other", Options{})
				other.subscribe(filter(shared, 2), filter("b", 1))
				synctest.Wait()
				for i := range test.fill {
					w.publish("b", fmt.Sprint(i), 1)
				}
				synctest.Wait()
				if !test.other {
					other.leave("gone")
				}
				synctest.Wait()
				test.leave(leaves)
				synctest.Wait()
				for i, left := range w.store.(*storetest.OnJournal).Kill(t) {
					again := newWorldOn(t, Config{InFlight: 1}, left)
					got := again.arrived("a", "leaves", "other")
					if fmt.Sprint(got) != fmt.Sprint(want) {
						t.Fatalf("kill %d: %v came, want %v; drops %v", i, got, want, again.drops())
					}
					if n := again.drops()["queue_overflow"]; n > uint64(test.fill) || n == 0 && len(again.drops()) > 0 { // it is away then, and full
						t.Errorf("kill %d: drops %v", i, again.drops())
					}
					wantNoOrphans(t, again)
					again.close()
				}
			})
		})
	}
}

// wantNoOrphans checks that nothing is left on its way.
func wantNoOrphans(t *testing.T, w *world) {
	t.Helper()
	w.manager.Close()
	left, err := w.store.TakeValues(store.SpaceOrphan)
	if err != nil || len(left) > 0 {
		t.Errorf("orphans %q, %v", left, err)
	}
}

// Nothing of a redelivery that is over is left in the store, whoever took the message, and if nobody did.
func TestOrphansEnd(t *testing.T) {
	none := time.Duration(0)
	for name, other := range map[string]func(w *world){
		"a durable session": func(w *world) { w.connect("other", Options{}).sub(1, 1, shared) },
		"one that is brief": func(w *world) { w.connect("other", Options{Expiry: &none}).sub(1, 1, shared) },
		"a backend":         func(w *world) { w.router.OpenInbox(router.InboxConfig{}, []string{shared}, 1, false) },
		"at most once":      func(w *world) { w.connect("other", Options{}).sub(1, 0, shared) },
		"nobody":            func(*world) {},
		"one that is too small": func(w *world) {
			w.router.Subscribe(shared, refuser{}, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDurableWorld(t, Config{})
				leaves := w.client("leaves", Options{})
				leaves.subscribe(filter(shared, 1))
				w.publish("a", "x", 1)
				synctest.Wait()
				other(w)
				leaves.link.SetExpiry(0)
				leaves.leave("gone")
				synctest.Wait()
				again := w.restarted(Config{})
				left, err := again.store.TakeValues(store.SpaceOrphan)
				if err != nil || len(left) > 0 {
					t.Errorf("orphans %q, %v", left, err)
				}
				again.close()
			})
		})
	}
}

// refuser is a receiver that can take nothing.
type refuser struct{}

func (refuser) Deliver(*message.Message, message.QoS, *router.Publication) error {
	return store.ErrTooLarge
}

// A will that is due comes wherever a kill meets it. Only between its receivers and the note that all have it, it comes twice.
func TestKilledWhileAWillIsDue(t *testing.T) {
	for name, leave := range map[string]func(*client){
		"cut":        func(c *client) { c.leave("reset") },
		"no session": func(c *client) { c.link.SetExpiry(0); c.leave("reset") },
		"delayed":    func(c *client) { c.leave("reset"); time.Sleep(time.Minute) },
		"clean":      func(c *client) { c.world.client("d", Options{Clean: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDurableWorld(t, Config{})
				defer w.close()
				w.connect("sub", Options{}).sub(1, 1, "will")
				delay := time.Duration(0)
				if name == "delayed" {
					delay = 30 * time.Second
				}
				d := w.client("d", Options{Will: will(delay)})
				w.store.Commit(func(error) {})
				synctest.Wait()
				leave(d)
				synctest.Wait()
				twice := 0
				for i, left := range w.store.(*storetest.OnJournal).Kill(t) {
					again := newWorldOn(t, Config{}, left)
					time.Sleep(time.Minute)
					synctest.Wait()
					switch n := again.arrived("will", "sub")["gone"]; {
					case n == 2:
						twice++
					case n != 1:
						t.Errorf("kill %d: the will came %d times", i, n)
					}
					again.close()
				}
				if twice > 5 { // one kill, with what is applied again from each place
					t.Errorf("%d kills make the will come twice", twice)
				}
			})
		})
	}
}

// The will of a device that was connected when the node was killed comes to all sessions, in whatever order they are restored.
func TestRestoredSessionsGetTheWill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDurableWorld(t, Config{})
		const subscribers = 30
		for i := range subscribers {
			w.connect(fmt.Sprint("sub", i), Options{}).sub(1, 1, "will")
		}
		w.client("d", Options{Will: will(0)})
		w.store.Commit(func(error) {})
		synctest.Wait()
		killed := w.store.(*storetest.OnJournal).Kill(t)[0]
		w.close()
		again := newWorldOn(t, Config{}, killed)
		defer again.close()
		synctest.Wait()
		for i := range subscribers {
			expect(t, fmt.Sprint("subscriber ", i), again.arrived("will", fmt.Sprint("sub", i))["gone"], 1)
		}
	})
}

// A device that leaves with many messages of shares gives them away in parts, and keeps what it has when it is back before the end.
func TestGivesAwayInParts(t *testing.T) {
	const many = 1000
	w := newWorld(t, Config{}, store.Limits{Count: many})
	leaves := w.member("leaves", Options{})
	leaves.room = 0
	for range 2 * many { // half of them wait for room
		w.publish("a", "x", 1)
	}
	other := w.member("other", Options{})
	s := leaves.link.session
	w.manager.detach(&leaves.link, "gone")
	d := &departure{s, map[string]bool{shared: true}, true}
	more := func() bool { more, _ := d.some(); return more }
	parts := 0
	for before := many + s.waiting.Len(); more(); parts++ {
		left := s.queue.Len()
		if s.waiting != nil {
			left += s.waiting.Len()
		}
		if before-left > giveAtOnce {
			t.Fatalf("one part gives %d messages", before-left)
		}
		if before = left; parts == 3 {
			break
		}
	}
	back := w.connect("leaves", Options{})
	expect(t, "goes on", more(), false)
	expect(t, "messages that the device still has", s.queue.Len()+s.waiting.Len(), 2*many-4*giveAtOnce)
	back.leave("gone")
	w.manager.admitting.Wait()
	w.manager.redeliveries.wait()
	n := 0
	for _, c := range []*conn{other, w.connect("leaves", Options{})} { // it has back what the other one has no room for
		for c.step() || len(c.owed) > 0 {
			for len(c.owed) > 0 {
				c.ack(0)
			}
		}
		for _, line := range c.log {
			if strings.HasPrefix(line, "a=x") {
				n++
			}
		}
	}
	expect(t, "messages", n, 2*many)
	expect(t, "drops", len(w.drops()), 0)
}
