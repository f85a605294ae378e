package main

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	coder "github.com/coder/websocket"

	"github.com/longline/longline/internal/cluster"
	"github.com/longline/longline/internal/cluster/balance"
	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/gateway"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/store"
)

// fakeMembers is a cluster of this node, a, and an empty one, b.
type fakeMembers struct {
	held   bool
	report cluster.Report
	other  cluster.Member
}

func (f *fakeMembers) Self() string               { return "a" }
func (f *fakeMembers) Held() bool                 { return f.held }
func (f *fakeMembers) SetReport(r cluster.Report) { f.report = r }
func (f *fakeMembers) Members() []cluster.Member {
	self := cluster.Member{Node: devices.Node{Name: "a", State: devices.NodeUp}, Up: time.Hour}
	return []cluster.Member{self, f.other}
}

// balanced is a balancer, its gateway, and devices at it.
type balanced struct {
	*balancer
	t       *testing.T
	members *fakeMembers
	leaving atomic.Bool
	now     time.Time
	closed  atomic.Int64
}

// newBalanced starts a gateway that has room for 100 devices, and connects some.
func newBalanced(t *testing.T, n int) *balanced {
	memory := store.NewMemory(store.Options{})
	r := router.New(router.Config{}, memory)
	sessions, err := session.NewManager(session.Config{}, r, memory, memory)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sessions.Close)
	g, err := gateway.Start(gateway.Config{Listen: "127.0.0.1:0", Insecure: true, Loops: 1, MaxConnections: 100, Together: true}, r, sessions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	w := &balanced{t: t, now: time.Now()}
	w.members = &fakeMembers{held: true, other: cluster.Member{
		Node: devices.Node{Name: "b", State: devices.NodeUp, Addresses: []string{"ws://b.test", "mqtt://b.test:1883"}}, Up: time.Hour, Report: cluster.Report{Left: 1},
	}}
	w.balancer = newBalancer(w.members, g, sessions, balance.Config{}, balance.Policy{Share: 0.5, Fill: 1}, w.leaving.Load, slog.New(slog.DiscardHandler))
	for i := range n {
		c, _, err := coder.Dial(t.Context(), fmt.Sprintf("ws://%s/connect/d%d", g.Addr(), i), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.CloseNow() })
		go func() {
			for {
				if _, _, err := c.Read(t.Context()); err != nil {
					if coder.CloseStatus(err) == coder.StatusServiceRestart {
						w.closed.Add(1)
					}
					return
				}
			}
		}()
	}
	return w
}

// during lets time pass by.
func (w *balanced) during(long time.Duration) {
	for end := w.now.Add(long); w.now.Before(end); {
		w.now = w.now.Add(5 * time.Second)
		w.tick(w.now)
	}
}

// online waits until so many devices are connected, and no more.
func (w *balanced) online(want int) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		_, online := w.sessions.Count()
		if online == want && w.closed.Load() == int64(40-want) {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%d devices are connected, and %d were told 1012; want %d", online, w.closed.Load(), want)
		}
	}
}

// A node with less room than another one asks devices to go there; not while it is not sure of its lease, and not when the other one is dead or has just come.
func TestBalancer(t *testing.T) {
	w := newBalanced(t, 40)
	w.members.held = false
	w.during(10 * time.Minute)
	w.members.held, w.members.other.Up = true, 0
	w.during(10 * time.Minute)
	w.members.other.Up, w.members.other.State = time.Hour, devices.NodeDead
	w.during(10 * time.Minute)
	w.online(40)
	if r := w.members.report; r.Left > 0.6 || r.Left < 0 || r.Devices != 40 || r.Leaving {
		t.Errorf("told %+v", r)
	}
	w.members.other.State = devices.NodeUp
	w.during(time.Minute)
	asked := w.state.Load().asked
	if asked == 0 || asked > 21 { // half of them per minute
		t.Fatalf("asked %d devices, because %v", asked, w.state.Load().reason)
	}
	w.online(40 - int(asked))
	if server := w.servers([]balance.Target{{Name: "b", Share: 1}})(); server != "b.test:1883" {
		t.Errorf("devices are sent to %q", server)
	}
}

// A node that is drained gives all devices away, as soon as it takes none any more.
func TestBalancerDrains(t *testing.T) {
	w := newBalanced(t, 40)
	w.leaving.Store(true)
	w.during(time.Minute)
	w.online(40)
	if !w.members.report.Leaving {
		t.Error("the others are not told that the node leaves")
	}
	drained := make(chan error, 1)
	go func() { drained <- w.gateway.Drain(t.Context()) }()
	for w.gateway.Accepts() {
		time.Sleep(time.Millisecond)
	}
	w.during(time.Minute)
	w.online(0)
	if err := <-drained; err != nil {
		t.Error(err)
	}
	arrived := make(chan struct{})
	go func() { defer close(arrived); w.arrived(t.Context()) }()
	select {
	case <-arrived:
		t.Error("who asked the last devices to go has not looked since, and says that they have arrived")
	case <-time.After(10 * balanceStep / 4):
	}
	w.during(time.Minute)
	<-arrived
}

// Devices are on their way until they have come to another node, at most for a while.
func TestMoving(t *testing.T) {
	var w window
	at := time.Unix(1e9, 0)
	for i, step := range []struct {
		after      time.Duration
		sent, lost uint64
		want       int
	}{
		{0, 100, 50, 0},
		{time.Second, 110, 50, 10},
		{time.Second, 120, 55, 15},
		{time.Second, 120, 80, 0},
		{time.Second, 130, 80, 0},
		{27 * time.Second, 145, 80, 5},
		{time.Hour, 145, 80, 0},
	} {
		at = at.Add(step.after)
		if w.add(at, step.sent, step.lost); w.moving() != step.want {
			t.Errorf("step %d: %d are on their way, want %d", i, w.moving(), step.want)
		}
	}
}
