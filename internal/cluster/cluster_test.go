//go:build servers

package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/message"
)

func TestPublishToAnotherNode(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.join("a"), w.join("b"), w.join("c")
	var onB, onC sink
	b.router.Subscribe("fleet/#", &onB, message.AtLeastOnce)
	c.router.Subscribe("fleet/+/status", &onC, message.AtMostOnce)
	a.knows(b, c)
	for _, p := range []struct{ topic, payload string }{{"fleet/7/status", "1"}, {"fleet/7/other", "2"}, {"elsewhere", "3"}} {
		if err := a.publish(p.topic, p.payload, message.AtLeastOnce); err != nil {
			t.Fatal(err)
		}
	}
	onB.want(t, "fleet/7/status 1 1", "fleet/7/other 2 1")
	onC.want(t, "fleet/7/status 1 0")
	b.router.Unsubscribe("fleet/#", &onB)
	a.knows(b)
	if a.router.Wanted("fleet/7/other") {
		t.Error("what nobody wants any more is sent")
	}
}

// A device's own space is not announced: who publishes there asks who has the device.
func TestPublishToDevice(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.join("a"), w.join("b"), w.join("c")
	d := b.attach("m-7", "device/m-7/#")
	var everything sink
	b.router.Subscribe("device/+/down", &everything, message.AtLeastOnce)
	a.knows(b)
	if got := w.announced(); !slices.Equal(got, []string{"device/+/down"}) {
		t.Errorf("announced is %q", got)
	}
	for _, n := range []*testNode{a, a, c, b} {
		if err := n.publish("device/m-7/down", n.Self(), message.AtLeastOnce); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.publish("device/nobody/down", "x", message.AtLeastOnce); err != nil {
		t.Fatal(err)
	}
	until(t, "messages are missing", func() bool { return len(d.all()) >= 4 && len(everything.all()) >= 5 })
	got := d.all()
	slices.Sort(got)
	if want := []string{"device/m-7/down a 1", "device/m-7/down a 1", "device/m-7/down b 1", "device/m-7/down c 1"}; !slices.Equal(got, want) {
		t.Errorf("the device has %q, want %q", got, want)
	}
}

// A device moves while others publish: each message comes once, by the node that the device has left or by the new one.
func TestMove(t *testing.T) {
	w := newWorld(t)
	nodes := []*testNode{w.join("a"), w.join("b"), w.join("c")}
	a, b, c := nodes[0], nodes[1], nodes[2]
	before := b.attach("m-7", "fleet/#", "device/m-7/#")
	for _, n := range nodes {
		n.knows(b)
	}
	stop := make(chan struct{})
	var work sync.WaitGroup
	var mu sync.Mutex
	published := map[string]int{}
	for _, n := range nodes {
		for _, topic := range []string{"fleet/x", "device/m-7/down"} {
			work.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					payload := fmt.Sprintf("%s-%d", n.Self(), i)
					if err := n.publish(topic, payload, message.AtLeastOnce); err != nil {
						t.Error(err)
					}
					mu.Lock()
					published[fmt.Sprintf("%s %s 1", topic, payload)] = 0
					mu.Unlock()
				}
			})
		}
	}
	on := []*device{before}
	for _, n := range []*testNode{c, a} {
		on = append(on, n.attach("m-7", "fleet/#", "device/m-7/#"))
		last := on[len(on)-2]
		until(t, "the owner before is not told", func() bool {
			last.mu.Lock()
			defer last.mu.Unlock()
			return last.to.Since != 0
		})
		at := len(on[len(on)-1].all())
		until(t, "nothing comes any more", func() bool { return len(on[len(on)-1].all()) > at+5 })
	}
	close(stop)
	work.Wait()
	missing := func() (n int) {
		for m := range published {
			published[m] = 0
		}
		for _, d := range on {
			for _, m := range d.all() {
				published[m]++
			}
		}
		for _, n1 := range published {
			if n1 == 0 {
				n++
			}
		}
		return n
	}
	until(t, "messages are missing", func() bool { return missing() == 0 })
	for m, n := range published {
		if n != 1 {
			t.Errorf("%q came %d times", m, n)
		}
	}
}

// A shared subscription has members on several nodes, and each message comes to one of them.
func TestShare(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.join("a"), w.join("b"), w.join("c")
	var onB, onC sink
	b.router.Subscribe("$share/g/fleet/#", &onB, message.AtLeastOnce)
	c.router.Subscribe("$share/g/fleet/#", &onC, message.AtLeastOnce)
	a.knows(b, c)
	const n = 20
	for i := range n {
		if err := a.publish("fleet/x", fmt.Sprint(i), message.AtLeastOnce); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "messages are missing", func() bool { return len(onB.all())+len(onC.all()) >= n })
	if len(onB.all())+len(onC.all()) != n || len(onB.all()) == 0 || len(onC.all()) == 0 {
		t.Errorf("one member has %d messages, the other one %d", len(onB.all()), len(onC.all()))
	}
	var near sink
	a.router.Subscribe("$share/g/fleet/#", &near, message.AtLeastOnce)
	if err := a.publish("fleet/x", "near", message.AtLeastOnce); err != nil {
		t.Fatal(err)
	}
	near.want(t, "fleet/x near 1")
}

// What a dead node had is adopted: its devices, and the messages in its inbox.
func TestAdoption(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.join("a"), w.join("b"), w.join("c")
	d := b.attach("m-7", "fleet/#", "device/m-7/#")
	a.knows(b)
	c.knows(b)
	if err := a.publish("fleet/x", "to b", message.AtLeastOnce); err != nil {
		t.Fatal(err)
	}
	d.want(t, "fleet/x to b 1")
	until(t, "the inbox is not trimmed", func() bool { return w.length(b.keys.inbox(b.OwnerName())) == 0 })
	b.end()
	var want []string
	for i := range 10 {
		if err := a.publish("fleet/x", fmt.Sprint(i), message.AtLeastOnce); err != nil {
			t.Fatal(err)
		}
		if err := c.publish("device/m-7/down", fmt.Sprint(i), message.AtLeastOnce); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("fleet/x %d 1", i), fmt.Sprintf("device/m-7/down %d 1", i))
	}
	heir := func() *device { return cmp.Or(a.device("m-7"), c.device("m-7")) }
	until(t, "nobody adopts the device", func() bool { return heir() != nil })
	until(t, "messages are missing", func() bool { return len(heir().all()) >= len(want) })
	until(t, "the dead node is still there", func() bool {
		return len(a.Members()) == 2 && len(w.announcedBy(b)) == 0 && !w.exists(b.keys.inbox(b.OwnerName()))
	})
	if err := a.publish("fleet/x", "later", message.AtLeastOnce); err != nil {
		t.Fatal(err)
	}
	want = append(want, "fleet/x later 1")
	until(t, "the last message is missing", func() bool { return len(heir().all()) >= len(want) })
	got := heir().all()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the heir has %q, want %q", got, want)
	}

	// It was only stopped, and wakes up.
	values, err := renew.Exec(t.Context(), a.client, a.keys.nodes(), []string{b.Self(), lifeText(b.life), "{}"}).ToArray()
	if err != nil {
		t.Fatal(err)
	}
	if first, err := values[0].ToString(); first != "dead" {
		t.Errorf("an owner that was adopted renews its lease: %q, %v", first, err)
	}
}

// A device comes to another node after its own has died and before that is adopted. It gets what was in the inbox of the dead one.
func TestClaimFromDead(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.join("a"), w.join("b"), w.join("c")
	d := b.attach("m-7", "fleet/#", "device/m-7/#")
	a.knows(b)
	c.knows(b)
	b.end()
	var want []string
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			for _, n := range []*testNode{a, c} {
				if err := n.publish("fleet/x", fmt.Sprint(n.Self(), i), message.AtLeastOnce); err != nil {
					t.Fatal(err)
				}
				if err := n.publish("device/m-7/down", fmt.Sprint(n.Self(), i), message.AtLeastOnce); err != nil {
					t.Fatal(err)
				}
				want = append(want, fmt.Sprintf("fleet/x %s%d 1", n.Self(), i), fmt.Sprintf("device/m-7/down %s%d 1", n.Self(), i))
			}
		}
	}
	publish(0, 10)
	heir := c.attach("m-7", "fleet/#", "device/m-7/#")
	publish(10, 20)
	until(t, "the dead node is still there", func() bool { return len(a.Members()) == 2 })
	publish(20, 22)
	until(t, "messages are missing", func() bool { return len(heir.all()) >= len(want) })
	got := heir.all()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || len(d.all()) != 0 {
		t.Errorf("the heir has %q, want %q", got, want)
	}
}

// A node that was taken for dead, and goes on reading its inbox until it has ended, removes nothing from it: who adopts it sends that on.
func TestInboxOfZombie(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	b.attach("m-7", "fleet/#")
	a.knows(b)
	if err := b.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-b.failed; !errors.Is(err, errDead) {
		t.Fatal(err)
	}
	var want []string
	for i := range 2 * trimAfter {
		if err := a.publish("fleet/x", fmt.Sprint(i), message.AtLeastOnce); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("fleet/x %d 1", i))
	}
	until(t, "nobody adopts the device", func() bool { return a.device("m-7") != nil })
	heir := a.device("m-7")
	until(t, "messages are missing", func() bool {
		return !slices.ContainsFunc(want, func(m string) bool { return !slices.Contains(heir.all(), m) })
	})
}

// A newer process with the name of a node takes over at once, and the older one is told.
func TestNewLife(t *testing.T) {
	w := newWorld(t)
	a := w.join("a")
	a.attach("m-7", "fleet/#")
	again := w.join("a")
	if err := <-a.failed; !errors.Is(err, errNewer) {
		t.Errorf("the older process is told %v", err)
	}
	until(t, "the device is not adopted", func() bool { return again.device("m-7") != nil })
	if a.Held() {
		t.Error("the older process still acknowledges")
	}
}

func TestAsk(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	b.Answer(func(_ context.Context, procedure string, request []byte) ([]byte, error) {
		switch procedure {
		case "refuse":
			return nil, errors.New("no")
		case "huge":
			return make([]byte, askBytes+1), nil
		}
		return append([]byte(procedure+" "), request...), nil
	})
	until(t, "the nodes do not know each other", func() bool { return len(a.Nodes()) == 2 })
	answer, err := a.Ask(t.Context(), "b", "echo", []byte("hello"))
	if err != nil || string(answer) != "echo hello" {
		t.Errorf("got %q, %v", answer, err)
	}
	if _, err = a.Ask(t.Context(), "b", "refuse", nil); err == nil || err.Error() != "no" {
		t.Errorf("got %v", err)
	}
	if _, err = a.Ask(t.Context(), "b", "huge", nil); err == nil {
		t.Error("an answer that is too large came")
	}
	if _, err = a.Ask(t.Context(), "b", "echo", make([]byte, askBytes+1)); err == nil {
		t.Error("a request that is too large was sent")
	}
	if _, err = a.Ask(t.Context(), "nobody", "echo", nil); !errors.Is(err, devices.ErrNodeAway) {
		t.Errorf("a node that is not there: %v", err)
	}
	type result struct {
		received bool
		err      error
	}
	told := make(chan result, 2)
	for _, id := range []uint16{7, 8} {
		a.AskReceived("m-7", b.OwnerName(), 9, id, func(received bool, err error) { told <- result{received, err} })
		if got, want := <-told, (result{id == 7, nil}); got != want {
			t.Errorf("packet %d: got %v", id, got)
		}
	}
}

// While Redis is away, publications to other nodes wait, then they are refused; those on the node itself go on. Afterwards all goes on.
func TestRedisAway(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	a.patience, b.patience = 200*time.Millisecond, 200*time.Millisecond
	var near, far sink
	a.router.Subscribe("near", &near, message.AtLeastOnce)
	b.router.Subscribe("far", &far, message.AtLeastOnce)
	a.knows(b)
	w.redis.Kill()
	if err := a.publish("near", "1", message.AtLeastOnce); err != nil {
		t.Error(err)
	}
	if err := a.publish("far", "1", message.AtLeastOnce); err == nil {
		t.Error("a message is acknowledged that another node cannot get")
	}
	until(t, "the lease does not end", func() bool { return !a.Held() })
	held := make(chan error, 1)
	a.WhenHeld(func(err error) { held <- err })
	w.redis.Restart()
	if err := <-held; err != nil {
		t.Error(err)
	}
	until(t, "the lease of b does not come back", b.Held)
	if len(a.Members()) != 2 || a.Members()[1].State == devices.NodeDead {
		t.Errorf("an outage has killed a node: %+v", a.Members())
	}
	if err := a.publish("far", "2", message.AtLeastOnce); err != nil {
		t.Error(err)
	}
	until(t, "the message does not come", func() bool { return slices.Contains(far.all(), "far 2 1") })
}

// A receiver that takes nothing holds up a node's inbox for a while only: then the others get what comes behind its messages.
func TestReceiverWithoutRoom(t *testing.T) {
	w := newWorld(t)
	w.inboxBytes, w.heldTime = 1<<20, 100*time.Millisecond
	a, b := w.join("a"), w.join("b")
	var other sink
	b.router.Subscribe("full", holder{}, message.AtLeastOnce)
	b.router.Subscribe("other", &other, message.AtLeastOnce)
	a.knows(b)
	if err := a.publish("full", "1", message.AtLeastOnce); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", batchBytes)
	for i := range 48 {
		if err := a.publish("other", large, message.AtLeastOnce); err != nil {
			t.Fatalf("message %d behind that of a receiver without room: %v", i, err)
		}
	}
	until(t, "the messages do not come", func() bool { return len(other.all()) == 48 })
	if b.counts.letGo.Load() == 0 {
		t.Error("nothing is counted")
	}
}

// A node that changes its mind about large filters again and again does not fill Redis with the log of that, and the others know what it wants.
func TestLogIsBounded(t *testing.T) {
	w := newWorld(t)
	w.logBytes = 64 << 10
	a, b := w.join("a"), w.join("b")
	var got sink
	large := strings.Repeat("x", 4<<10)
	for i := range 64 {
		filter := fmt.Sprint("t/", i, large)
		b.router.Subscribe(filter, &got, message.AtLeastOnce)
		b.announced()
		if i%2 == 0 {
			b.router.Unsubscribe(filter, &got)
		}
	}
	a.knows(b)
	if n := w.length("ll:test:{interest}:log"); n > 20 {
		t.Errorf("the log has %d entries, of 4 KiB each", n)
	}
	for i := range 64 {
		if err := a.publish(fmt.Sprint("t/", i, large), "", message.AtLeastOnce); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "not all messages come", func() bool { return len(got.all()) == 32 })
}

// A node that Redis has forgotten is not taken for gone: what others publish comes when it has renewed its lease.
func TestForgottenNode(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	var got sink
	b.router.Subscribe("t", &got, message.AtLeastOnce)
	a.knows(b)
	until(t, "a does not know b", func() bool { return len(a.Members()) == 2 })
	for i := range 6 { // a or b may be the first to renew its lease
		at := a.members.now.Load()
		for _, forget := range []rueidis.Completed{
			w.client.B().Hdel().Key("ll:test:{nodes}:life").Field("b").Build(), w.client.B().Del().Key(b.keys.inbox(b.OwnerName())).Build(),
		} {
			if err := w.client.Do(t.Context(), forget).Error(); err != nil {
				t.Fatal(err)
			}
		}
		until(t, "a does not renew its lease", func() bool { return a.members.now.Load() > at })
		if err := a.publish("t", "", message.AtLeastOnce); err != nil {
			t.Error(err)
		}
		until(t, "the message does not come", func() bool { return len(got.all()) > i })
	}
}

// A node whose account is full gets no more messages to keep from other nodes either: their publishers are refused until there is room.
func TestFullNode(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	var got sink
	b.router.Subscribe("t", &got, message.AtLeastOnce)
	a.knows(b)
	full := func() error { return a.publish("t", "", message.AtLeastOnce) }
	if err := full(); err != nil {
		t.Fatal(err)
	}
	b.attach("m-7", "device/m-7/#")
	b.account.SetLimit(1)
	b.account.Count(message.Debtor{}, 1)
	until(t, "a publishes to a full node", func() bool { return errors.Is(full(), errNodeFull) })
	for range 2 { // who has the device is asked first, and known then
		if err := a.publish("device/m-7/down", "", message.AtLeastOnce); !errors.Is(err, errNodeFull) {
			t.Errorf("a message for a device of a full node: %v", err)
		}
	}
	if err := a.publish("t", "", message.AtMostOnce); err != nil {
		t.Error(err)
	}
	told := make(chan error, 1)
	a.router.SubscribeFar("$share/g/t", a.peers.get(a.Node, b.owner))
	shared := (&message.Message{ID: 9, Topic: "t", QoS: message.AtLeastOnce}).Clone()
	a.router.PublishShared(shared, "$share/g/t", func(err error) { told <- err })
	if err := <-told; err != nil {
		t.Errorf("an acknowledged message that a share hands on: %v", err)
	}
	b.account.SetLimit(0)
	until(t, "a does not publish again", func() bool { return full() == nil })
}

// What cannot be read of what Redis has is counted and skipped: the nodes go on.
func TestSpoiltRedis(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	keys := a.keys
	do := func(args ...string) {
		t.Helper()
		if err := w.client.Do(t.Context(), w.client.B().Arbitrary(args...).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	toLog := func(second int, fields ...string) {
		t.Helper()
		until(t, "the log takes nothing", func() bool { // a node may announce something meanwhile
			args := append([]string{"XADD", keys.interest()[0], fmt.Sprintf("%d-%d", b.Position(), second)}, fields...)
			return w.client.Do(t.Context(), w.client.B().Arbitrary(args...).Build()).Error() == nil
		})
	}
	spoil := func() {
		toLog(1, "p", "x", "o", "*", "+", "a")
		toLog(2, "nothing", "known")
		do("HSET", keys.interest()[1], "*", "1", "b/1\x00a/#/b", "1")
		do("XADD", keys.inbox(b.owner), "*", "b", "\x1a")
		do("XADD", keys.inbox(b.owner), "*", "b", string(newBatch(item{kind: 99}, item{kind: elsewhere, device: "m-7", owner: "nobody"}, item{kind: forAll, body: []byte("x")})))
		do("HSET", keys.nodes()[0], "x y", "no life")
		do("HSET", keys.nodes()[3], "*", "never")
	}
	spoil()
	var onB sink
	b.router.Subscribe("fleet/#", &onB, message.AtLeastOnce)
	a.knows(b)
	spoil()
	if err := a.publish("fleet/7", "x", message.AtLeastOnce); err != nil {
		t.Fatal(err)
	}
	onB.want(t, "fleet/7 x 1")
	until(t, "what is spoilt is not counted", func() bool { return b.counts.bad.Load() >= 8 && a.counts.bad.Load() >= 4 })
	until(t, "the leases are not renewed", func() bool { return a.Held() && b.Held() && len(a.Nodes()) == 2 && len(*a.members.dead.Load()) == 0 })
	c := w.join("c") // reads all that is announced
	c.knows(b)
	if err := c.publish("fleet/8", "y", message.AtLeastOnce); err != nil {
		t.Fatal(err)
	}
	onB.want(t, "fleet/7 x 1", "fleet/8 y 1")
}
