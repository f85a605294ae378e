package main

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/cluster"
	"github.com/longline/longline/internal/cluster/balance"
	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/gateway"
	"github.com/longline/longline/internal/session"
)

// A balancer tells the other nodes of the cluster how loaded this one is, and asks devices to connect to them: if the loads differ, and while the node is
// drained.
type balancer struct {
	// Static after construction.
	off       bool
	self      string
	members   members
	gateway   *gateway.Gateway
	sessions  *session.Manager
	isLeaving func() bool
	log       *slog.Logger
	stop      context.CancelFunc
	running   sync.WaitGroup

	// Owned by the goroutine that calls tick.
	meter   *gateway.Meter
	planner *balance.Planner
	sampled time.Time
	load    balance.Load
	gone    window
	owed    int // devices that were to be asked, and were not found

	// Safe from any goroutine.
	state atomic.Pointer[balanceState]
}

// members is what a balancer needs of the cluster: cluster.Node.
type members interface {
	Self() string
	Members() []cluster.Member
	SetReport(cluster.Report)
	Held() bool
}

// startBalancer begins to balance, if there are other nodes.
func (n *node) startBalancer(context.Context) error {
	if n.cluster == nil {
		return nil
	}
	p := n.config.Cluster.Balance.Policy()
	p.Leave = n.config.Gateway.DrainRate
	n.balancer = newBalancer(n.cluster, n.gateway, n.sessions, n.config.Cluster.Balance, p, n.leaving.Load, n.log)
	n.balancer.start()
	n.undo = append(n.undo, n.balancer.close)
	return nil
}

// balanceState is what the last tick has found.
type balanceState struct {
	ticks  uint64 // how many there were
	load   balance.Load
	moving int
	reason balance.Reason
	asked  uint64 // devices, in all
}

// How often a balancer looks.
const (
	balanceStep   = 250 * time.Millisecond
	balanceSample = time.Second
)

// mostOwed bounds the devices that are asked later because they could not be found.
const mostOwed = 50

// newBalancer returns a balancer that does nothing before run or tick.
func newBalancer(m members, g *gateway.Gateway, s *session.Manager, c balance.Config, p balance.Policy, leaving func() bool, log *slog.Logger) *balancer {
	b := &balancer{
		off: c.Off, self: m.Self(), members: m, gateway: g, sessions: s, isLeaving: leaving, log: log,
		meter: g.NewMeter(), planner: balance.New(p, m.Self()),
	}
	b.state.Store(new(balanceState))
	return b
}

// start runs the balancer until close.
func (b *balancer) start() {
	ctx, stop := context.WithCancel(context.Background())
	b.stop = stop
	b.running.Go(func() {
		tick := time.NewTicker(balanceStep)
		defer tick.Stop()
		for {
			select {
			case now := <-tick.C:
				b.tick(now)
			case <-ctx.Done():
				return
			}
		}
	})
}

func (b *balancer) close() {
	b.stop()
	b.running.Wait()
}

// tick measures, tells, decides, and asks.
func (b *balancer) tick(now time.Time) {
	moves := b.sessions.Moves()
	b.gone.add(now, moves.Sent, moves.Lost)
	if now.Sub(b.sampled) >= balanceSample {
		b.sampled, b.load = now, b.meter.Sample()
	}
	_, online := b.sessions.Count()
	report := cluster.Report{Left: b.load.Left(), Devices: online, Moving: b.gone.moving(), Leaving: b.isLeaving()}
	b.members.SetReport(report)
	state := *b.state.Load()
	state.ticks, state.load, state.moving = state.ticks+1, b.load, report.Moving
	if d, ok := b.decide(now, report); ok {
		b.note(state.reason, d.Reason)
		state.reason = d.Reason
		state.asked += uint64(b.ask(d))
	}
	b.state.Store(&state)
}

// decide returns what the node has to do, if it may do anything: a node that is not sure of its lease, or does not know the others any more, asks
// nobody; nor does one that is about to be drained and may get back whom it has asked.
func (b *balancer) decide(now time.Time, own cluster.Report) (d balance.Decision, ok bool) {
	if !b.members.Held() || own.Leaving && b.gateway.Accepts() || b.off && !own.Leaving {
		return d, false
	}
	list := b.members.Members()
	nodes := make([]balance.Node, 0, len(list))
	for i := range list {
		m := &list[i]
		if m.State == devices.NodeDead {
			continue
		}
		r := m.Report
		if m.Name == b.self {
			r = own
		}
		nodes = append(nodes, balance.Node{Name: m.Name, Left: r.Left, Devices: r.Devices, Moving: r.Moving, Up: m.Up, Leaving: r.Leaving})
	}
	return b.planner.Decide(now, nodes), true
}

// ask asks devices to go, and returns how many it has asked.
func (b *balancer) ask(d balance.Decision) int {
	if d.Reason != balance.Adjusting && d.Reason != balance.Leaving {
		b.owed = 0
	}
	n := d.Ask + b.owed
	if n == 0 {
		return 0
	}
	asked := b.gateway.Move(n, b.servers(d.To))
	b.owed = min(n-asked, mostOwed)
	return asked
}

// servers returns a function that returns an address of MQTT of one of the targets, by their shares, "" if the target has told none.
func (b *balancer) servers(to []balance.Target) func() string {
	addresses := make(map[string]string)
	for _, m := range b.members.Members() {
		for _, a := range m.Addresses {
			if at, ok := strings.CutPrefix(a, mqttScheme); ok {
				addresses[m.Name] = at
			}
		}
	}
	return func() string {
		at := rand.Float64()
		for _, t := range to {
			if at -= t.Share; at < 0 {
				return addresses[t.Name]
			}
		}
		return ""
	}
}

// mqttScheme begins the address at which a node takes devices that another one has sent: gateway.mqtt.address.
const mqttScheme = "mqtt://"

// note logs when the node begins to ask devices to go, and when it ends.
func (b *balancer) note(before, now balance.Reason) {
	if before == now {
		return
	}
	switch now {
	case balance.Adjusting:
		b.log.Info("other nodes have more room: asking devices to connect to them", "load", b.load.Used())
	case balance.Full:
		b.log.Warn("the node is drained, and the other nodes have no room for its devices")
	case balance.Cooling:
		b.log.Info("asking no more devices to connect to other nodes", "load", b.load.Used())
	}
}

// drainDevices drains the device port. In a cluster it then waits until the devices are at other nodes, as far as they come back.
func (n *node) drainDevices(ctx context.Context) error {
	err := n.gateway.Drain(ctx)
	if err == nil && n.balancer != nil {
		n.balancer.arrived(ctx)
	}
	return err
}

// arrived waits until the devices that were asked to go are at other nodes, or nothing more is to be expected, or ctx ends.
func (b *balancer) arrived(ctx context.Context) {
	tick := time.NewTicker(balanceStep)
	defer tick.Stop()
	begun := b.state.Load().ticks
	for {
		// A tick that was under way does not know of the last devices.
		if now := b.state.Load(); now.ticks > begun+1 && now.moving == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// movingFor is how long a device that was asked to go counts as on its way.
const movingFor = 30 * time.Second

// A window remembers how many devices were asked to go, and how many have come to other nodes, at the times of the last movingFor.
type window struct{ marks []mark }

type mark struct {
	at         time.Time
	sent, lost uint64
}

func (w *window) add(now time.Time, sent, lost uint64) {
	w.marks = append(w.marks, mark{now, sent, lost})
	for len(w.marks) > 1 && now.Sub(w.marks[0].at) > movingFor {
		w.marks = w.marks[1:]
	}
}

// moving returns how many devices are on their way.
func (w *window) moving() int {
	first, last := w.marks[0], w.marks[len(w.marks)-1]
	return max(0, int(last.sent-first.sent)-int(last.lost-first.lost))
}
