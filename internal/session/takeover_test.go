package session

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/wire"
)

// late are the events of a connection that its loop may still have in hand when a newer one
// is attached, each once.
var late = map[byte]func(*takeover){
	'p': func(k *takeover) { k.old.pub(7, "up", "late", 1) },
	'0': func(k *takeover) { k.old.pub(0, "up", "late", 0) },
	'a': func(k *takeover) { k.old.handle(ackOf(k.first)) },
	's': func(k *takeover) { k.old.sub(8, 1, "late") },
	'u': func(k *takeover) { k.old.unsub(9, "a") },
	'r': func(k *takeover) { k.old.handle(&wire.Packet{Op: wire.Reply, ID: 1, Payload: []byte("late")}) },
	'c': func(k *takeover) { k.old.handle(&wire.Packet{Op: wire.Call, ID: 2, Service: "s", Method: "late"}) },
	'f': func(k *takeover) { k.old.link.Flush(true) },
	'w': func(k *takeover) { k.old.step() }, // a wake-up that was posted before
	'd': func(k *takeover) { k.manager.Detach(&k.old.link, "reset") },
}

// news are what happens to the newer connection, in this order.
var news = []func(*takeover){
	func(k *takeover) { k.new.attach("d", Options{}) },
	func(k *takeover) { k.publish("a", "3", 1) },
	func(k *takeover) { k.new.step() },
	func(k *takeover) { k.new.sub(1, 1, "b") },
	func(k *takeover) { k.new.pub(2, "up", "new", 1) },
	func(k *takeover) {
		if len(k.new.owed) > 0 {
			k.new.ack(0)
		}
	},
	func(k *takeover) { k.manager.Detach(&k.new.link, "bye") },
}

// takeover is a device that is connected twice. It has subscribed to a, owes the answer to a
// call and the acknowledgements of two messages; a third waits for the window.
type takeover struct {
	*world
	old, new *conn
	first    uint64 // id of the first message in flight
	call     chan reply
	presence *observer
	uplink   *observer
}

func newTakeover(t *testing.T) *takeover {
	w := newWorld(t, Config{InFlight: 2})
	k := &takeover{
		world:    w,
		old:      &conn{world: w, room: -1},
		new:      &conn{world: w, room: -1},
		call:     make(chan reply, 1),
		presence: w.observe("$presence/+"),
		uplink:   w.observe("up"),
	}
	k.old.attach("d", Options{})
	k.old.sub(1, 1, "a")
	for _, payload := range []string{"0", "1", "2"} {
		w.publish("a", payload, 1)
	}
	k.old.step()
	k.first = k.old.owed[0]
	if err := k.old.link.session.call(context.Background(), 1, "m", nil, "", k.call); err != nil {
		t.Fatal(err)
	}
	w.publish("a", "lone", 0) // leaves a wake-up behind
	return k
}

// state is all that a takeover could change.
func (k *takeover) state() string {
	i := k.info("d")
	k.manager.expirer.mu.Lock()
	expiring := len(k.manager.expirer.line)
	k.manager.expirer.mu.Unlock()
	i.Created, i.Changed, i.Session = time.Time{}, time.Time{}, ""
	called := "waits"
	select {
	case r := <-k.call:
		called = fmt.Sprintf("%s lost=%t", r.Payload, r.lost)
	default:
	}
	n, online := k.manager.Count()
	return fmt.Sprintf("%+v\nsessions %d online %d expiring %d\ncall %s\ndevice %q\npresence %q\nuplink %q\nrouter %+v\ndrops %v",
		i, n, online, expiring, called, k.new.log, k.presence.log, k.uplink.log, k.router.Stats(), k.drops())
}

// play runs a script of late events (letters) and news (+), and fails when the old
// connection sees more than its closing after the takeover.
func play(t *testing.T, script string) string {
	k := newTakeover(t)
	seen := 0
	next := 0
	for i := range len(script) {
		if f := late[script[i]]; f != nil {
			f(k)
			continue
		}
		news[next](k)
		if next++; next == 1 {
			seen = len(k.old.log)
		}
	}
	for _, line := range k.old.log[seen:] {
		if line != "close taken_over" {
			t.Errorf("%s: the old connection saw %q after the takeover", script, line)
		}
	}
	return k.state()
}

// before is a script without the late events, which are those after the takeover, and after
// the old connection's own end.
func before(script string) string {
	head, tail, _ := strings.Cut(script, "+")
	if end := strings.IndexByte(head, 'd'); end >= 0 {
		head = head[:end+1]
	}
	return head + "+" + strings.Repeat("+", strings.Count(tail, "+"))
}

// scripts yields every order of n different late events in every interleaving with the news.
func scripts(n int, yield func(string)) {
	events := []byte("p0asurfwd")
	var build func(script []byte, events []byte, left, news int)
	build = func(script, events []byte, left, news int) {
		if left == 0 && news == 0 {
			yield(string(script))
			return
		}
		script = slices.Clip(script)
		if news > 0 {
			build(append(script, '+'), events, left, news-1)
		}
		if left == 0 {
			return
		}
		for i, e := range events {
			build(append(script, e), slices.Delete(slices.Clone(events), i, i+1), left-1, news)
		}
	}
	build(nil, events, n, len(news))
}

// Newest wins: whatever the old connection's loop still does, in any order and at any
// moment, the session, its messages and its presence are as if it had done nothing. All
// scripts of one and two late events are played, and of those of three, one in 32.
func TestLateEventsChangeNothing(t *testing.T) {
	want := map[string]string{}
	n := 0
	for size := 1; size <= 3; size++ {
		scripts(size, func(script string) {
			if n++; t.Failed() || (size == 3 && n%32 != 0) {
				return
			}
			reference := before(script)
			if _, ok := want[reference]; !ok {
				want[reference] = play(t, reference)
			}
			if got := play(t, script); got != want[reference] {
				t.Errorf("%s ends with\n%s\nwant, as %s,\n%s", script, got, reference, want[reference])
			}
		})
	}
	t.Logf("%d different outcomes", len(want))
}

func TestNewestWins(t *testing.T) {
	k := newTakeover(t)
	k.new.attach("d", Options{})
	k.publish("a", "3", 1)
	k.new.saw("hello resumed=true missed=0", "a=0 qos 1", "a=1 qos 1")
	k.presence.saw(t, "d true ", "d false taken_over", "d true ")
	expect(t, "call", (<-k.call).lost, true)
	third := k.connect("d", Options{})
	third.saw("hello resumed=true missed=0", "a=0 qos 1", "a=1 qos 1")
	k.new.saw("close taken_over")
	if k.manager.session("d").link.conn != third {
		t.Error("the newest connection is not the live one")
	}
	sessions, online := k.manager.Count()
	expect(t, "sessions", sessions, 1)
	expect(t, "online", online, 1)
}

func TestLinkWithoutSession(t *testing.T) {
	w := newWorld(t, Config{})
	w.manager.Detach(new(Link), "handshake") // refused before it was attached
}
