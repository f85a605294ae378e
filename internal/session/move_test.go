package session

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// clustered runs a test with a cluster of three nodes in a bubble.
func clustered(t *testing.T, c Config, test func(t *testing.T, x *cluster, a, b, third *node)) {
	synctest.Test(t, func(t *testing.T) {
		x := newCluster(t, c, "a", "b", "c")
		defer x.close()
		test(t, x, x.nodes[0], x.nodes[1], x.nodes[2])
	})
}

// joins connects a device to a node, and runs its loop until nothing moves.
func (n *node) joins(device string, o Options) *conn {
	n.t.Helper()
	c := &conn{world: n.world, room: -1}
	c.joins(device, c, o)
	return c
}

func (c *conn) joins(device string, as Conn, o Options) {
	c.world.t.Helper()
	c.world.manager.Attach(device, &c.link, as, o, func(a Attached, err error) {
		if err != nil {
			c.see("refused: %v", err)
			return
		}
		c.see("hello resumed=%t missed=%d", a.Resumed, a.Missed)
		c.link.Flush(true)
	})
	c.settle()
}

func (n *node) joinsMQTT(device string, o Options) *client {
	n.t.Helper()
	c := &client{&conn{world: n.world, room: -1}}
	c.joins(device, c, o)
	return c
}

// gets is saw once nothing moves any more.
func (c *conn) gets(want ...string) {
	c.world.t.Helper()
	c.settle()
	c.saw(want...)
}

// A device goes to another node: its session follows with subscriptions and messages, its old connection closes, and nobody hears that it was gone.
func TestDeviceMoves(t *testing.T) {
	clustered(t, Config{}, func(t *testing.T, x *cluster, a, b, third *node) {
		watcher := third.observe("$presence/d")
		gone := third.observe("gone")
		old := a.joinsMQTT("d", Options{Will: &store.Will{Message: (&message.Message{Topic: "gone", QoS: 1}).Clone()}})
		old.subscribe(filter("t/#", 1), filter("device/d/cmd", 1))
		old.gets(fresh)
		third.publish("t/1", "one", 1)
		old.gets("t/1=one qos 1 id 1")

		present := b.joinsMQTT("d", Options{})
		present.gets(resumed, "t/1=one qos 1 id 1 again")
		old.gets("close moved") // the node was told before the device was greeted at the other one
		old.leave("taken_over")
		if err := present.link.Acked(1); err != nil {
			t.Error(err)
		}
		for _, n := range x.nodes {
			told := n.publish("t/2", n.name, 1)
			synctest.Wait()
			expect(t, "a publication on "+n.name, told.String(), "taken")
			own := n.publish("device/d/cmd", n.name, 1)
			synctest.Wait()
			expect(t, "a publication on "+n.name, own.String(), "taken")
		}
		present.gets("t/2=a qos 1 id 1", "device/d/cmd=a qos 1 id 2", "t/2=b qos 1 id 3", "device/d/cmd=b qos 1 id 4",
			"t/2=c qos 1 id 5", "device/d/cmd=c qos 1 id 6")
		watcher.saw(t, "d true ")
		expect(t, "owner", x.owner("d"), "b")
		expect(t, "sessions on a", a.sessions(), 0)
		expect(t, "sessions on b", b.sessions(), 1)

		present.leave("bye")
		synctest.Wait()
		watcher.saw(t, "d false bye")
		gone.saw(t)
		x.unshadowed()
		expect(t, "shadows", a.manager.Moves().Shadows, 0)
	})
}

func (n *node) sessions() int {
	sessions, _ := n.manager.Count()
	return sessions
}

// unshadowed waits until no shadow is left.
func (x *cluster) unshadowed() {
	synctest.Wait()
	for _, n := range x.nodes {
		expect(x.t, "shadows on "+n.name, n.manager.Moves().Shadows, 0)
	}
}

// While the lease is not valid, a publication of QoS 1 waits with the connection that sent it, one of QoS 0 goes on.
func TestPublicationWaitsForLease(t *testing.T) {
	clustered(t, Config{}, func(t *testing.T, _ *cluster, a, _, _ *node) {
		seen := a.observe("t")
		c := a.joins("d", Options{})
		c.gets(fresh)
		a.holds(false)
		c.pub(0, "t", "zero", 0)
		c.pub(1, "t", "one", 1)
		c.gets("reading false")
		seen.saw(t, "t=zero qos 0")
		a.holds(true)
		c.gets("ack 1", "reading true")
		seen.saw(t, "t=one qos 1")
	})
}

// A device that another node has is asked to come again, unless it is known to have a connection there.
func TestLost(t *testing.T) {
	for connected, want := range map[bool]string{false: "close moved", true: "close taken_over"} {
		clustered(t, Config{}, func(t *testing.T, _ *cluster, a, _, _ *node) {
			c := a.joins("d", Options{})
			c.gets(fresh)
			to := Move{To: "b", Epoch: 1 << 52, Connected: connected}
			expect(t, "lost", a.manager.Lose("d", to), true)
			c.gets(want)
			expect(t, "lost again", a.manager.Lose("d", to), false)
		})
	}
}

// A device that is asked to go to another node counts as on line until it is there, or does not come.
func TestAskedToGo(t *testing.T) {
	clustered(t, Config{}, func(t *testing.T, _ *cluster, a, b, third *node) {
		watcher := third.observe("$presence/d")
		c := a.joins("d", Options{})
		c.gets(fresh)
		c.leave("moved")
		synctest.Wait()
		watcher.saw(t, "d true ")
		c = b.joins("d", Options{})
		c.gets(resumed)
		c.leave("moved")
		time.Sleep(arrivalTime + time.Second)
		synctest.Wait()
		watcher.saw(t, "d false not_returned")
	})
}

// The devices of a node that died are away since then at the node that adopts them.
func TestAdopt(t *testing.T) {
	clustered(t, Config{}, func(t *testing.T, x *cluster, a, b, third *node) {
		watcher := third.observe("$presence/d")
		c := a.joins("d", Options{})
		c.sub(1, 1, "t")
		c.gets(fresh, "ack 1")
		synctest.Wait()
		claim, ops := x.claim("d", "b")
		b.journal.takes("d", claim, ops)
		if err := b.manager.Adopt("d", claim, time.Now()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		watcher.saw(t, "d true ", "d false node_lost")
		told := third.publish("t", "one", 1)
		synctest.Wait()
		expect(t, "the publication", told.String(), "taken")
		b.joins("d", Options{}).gets(resumed, "t=one qos 1")
	})
}

// living are Owners of whom some are there.
type living struct {
	Owners
	names []string
}

func (l living) Lives(owner string) bool { return slices.Contains(l.names, owner) }

// What was for an owner that died is for the session that came from there, also by other owners, unless one of these lives and passes it on.
func TestInherits(t *testing.T) {
	c := &claimed{from: "c/1", before: []string{"b/1", "a/1"}}
	for _, x := range []struct {
		owner string
		lives []string
		want  bool
	}{
		{"c/1", nil, true},
		{"b/1", nil, true},
		{"a/1", []string{"a/2", "other/1"}, true},
		{"a/1", []string{"b/1"}, false},
		{"a/1", []string{"c/1"}, false},
		{"b/1", []string{"c/1"}, false},
		{"other/1", nil, false},
	} {
		if got := c.inherits(x.owner, living{names: x.lives}); got != x.want {
			t.Errorf("of %s, while %v live: %v", x.owner, x.lives, got)
		}
	}
}

// A node that woke up after its lease sends a device nothing that the device may have from its next owner. QoS 0 goes on.
func TestNothingIsSentWithoutLease(t *testing.T) {
	clustered(t, Config{}, func(t *testing.T, _ *cluster, a, b, _ *node) {
		c := a.joins("d", Options{})
		c.sub(1, 1, "t")
		c.gets(fresh, "ack 1")
		a.holds(false)
		a.publish("t", "none", 0)
		synctest.Wait()
		c.gets("t=none qos 0")
		a.publish("t", "one", 1)
		synctest.Wait()
		c.gets()
		a.holds(true)
		synctest.Wait()
		c.gets("t=one qos 1")
	})
}

// A will that was due is published once: by the node at which it was, if that lives, else by the one that has the device now.
func TestWillOnItsWay(t *testing.T) {
	for died, want := range map[bool][]string{false: nil, true: {"w=gone qos 1"}} {
		clustered(t, Config{}, func(t *testing.T, _ *cluster, a, b, third *node) {
			a.died = died
			observer := third.observe("w")
			synctest.Wait()
			will := (&message.Message{Topic: "w", Payload: []byte("gone"), QoS: message.AtLeastOnce, Source: "d"}).Clone()
			b.finds = Claim{From: "a", Orphans: map[string][]byte{orphanKey(will, ""): message.AppendRecord(nil, will)}}
			b.joins("d", Options{})
			synctest.Wait()
			observer.saw(t, want...)
		})
	}
}

// holds makes the lease valid or not.
func (n *node) holds(valid bool) {
	n.mu.Lock()
	n.unheld = !valid
	var told []func(error)
	if valid {
		told, n.whenHeld = n.whenHeld, nil
	}
	n.mu.Unlock()
	for _, f := range told {
		f(nil)
	}
}

// A device that has gone from one node to another and back may repeat what it sent before all that: each owner is asked about the claims before its own.
func TestRepeatedAfterSeveralMoves(t *testing.T) {
	clustered(t, Config{}, func(t *testing.T, _ *cluster, a, b, _ *node) {
		left := func(n *node, epoch uint64, from string, received ...uint16) {
			x := &shadow{received: new(store.Identifiers)}
			for _, id := range received {
				x.received.Add(id)
			}
			s := &Session{manager: n.manager, device: "d", claim: &claimed{epoch: epoch, from: from, moved: time.Now().UnixMilli(), shadow: x}}
			s.mu.Lock()
			defer s.mu.Unlock()
			n.manager.shadows.add(s, 10)
		}
		left(a, 10, "", 7)
		left(b, 20, "a")
		left(a, 30, "b")
		for _, id := range []uint16{7, 8} {
			told := make(chan bool, 1)
			a.manager.Received("d", 40, id, func(received bool, err error) {
				told <- received
				if err != nil {
					t.Error(err)
				}
			})
			if got := <-told; got != (id == 7) {
				t.Errorf("publication %d: received is %t", id, got)
			}
		}
	})
}
