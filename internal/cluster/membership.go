package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/message"
)

// Member is a node as the others know it.
type Member struct {
	devices.Node
	Report   Report
	Up       time.Duration // since this life of it began
	position uint64
	full     bool
	arriving []string // owners from which it has sessions that it has not announced
}

func (m *Member) owner() string { return owner(m.Name, m.Life) }

// members are what the last renewal has shown.
type members struct {
	list      atomic.Pointer[[]Member] // in the order of their names
	dead      atomic.Pointer[map[string]time.Duration]
	now       atomic.Uint64 // Redis' clock then
	report    atomic.Pointer[Report]
	addresses atomic.Pointer[[]string]
	steady    time.Time // since when no renewal has failed
}

// Nodes returns all nodes in the order of their names. The caller does not change the list.
func (n *Node) Nodes() []devices.Node {
	list := *n.members.list.Load()
	nodes := make([]devices.Node, len(list))
	for i := range list {
		nodes[i] = list[i].Node
	}
	return nodes
}

// Members returns all nodes in the order of their names, with what they report. The caller does not change the list.
func (n *Node) Members() []Member { return *n.members.list.Load() }

// SetReport sets what the next renewal tells.
func (n *Node) SetReport(r Report) { n.members.report.Store(&r) }

// member returns the living member with a name, or nil.
func (n *Node) member(name string) *Member {
	list := *n.members.list.Load()
	i, ok := slices.BinarySearchFunc(list, name, func(m Member, name string) int { return strings.Compare(m.Name, name) })
	if !ok {
		return nil
	}
	return &list[i]
}

// isGone reports whether nobody has the inbox of an owner any more: it is no member, and no dead one whose adoption is not over.
func (n *Node) isGone(o string) bool {
	if m := n.member(nodeOf(o)); m != nil && m.Life == lifeOf(o) {
		return false
	}
	dead := n.members.dead.Load()
	if dead == nil || lifeOf(o) > n.members.now.Load() {
		return false // it has begun since the last renewal
	}
	_, waits := (*dead)[o]
	return !waits
}

// lives reports whether an owner has renewed its lease lately, and has not left.
func (n *Node) lives(o string) bool {
	m := n.member(nodeOf(o))
	return m != nil && m.Life == lifeOf(o) && m.State != devices.NodeDead
}

// lease is the right to acknowledge.
type lease struct {
	until atomic.Int64 // by the monotonic clock, see sinceStart

	mu     sync.Mutex
	waits  []func(error)
	failed error
}

var start = time.Now()

// sinceStart is a clock that nobody sets.
func sinceStart() time.Duration { return time.Since(start) }

// Held reports whether the node's lease is valid now. It is not from two thirds of a lease after the last renewal on, so that it ends here before others see it end.
func (n *Node) Held() bool { return int64(sinceStart()) < n.lease.until.Load() }

// WhenHeld calls f once, never before it returns: when the lease is valid, or with an error when it never will be.
func (n *Node) WhenHeld(f func(error)) {
	n.lease.mu.Lock()
	defer n.lease.mu.Unlock()
	if err := n.lease.failed; err != nil {
		go f(err)
		return
	}
	if n.Held() {
		go f(nil)
		return
	}
	n.lease.waits = append(n.lease.waits, f)
}

// hold extends the lease from when a renewal was begun.
func (l *lease) hold(from time.Duration, lease time.Duration) {
	l.until.Store(int64(from + lease*2/3))
	l.tell(nil)
}

// fail ends the lease for good.
func (l *lease) fail(err error) {
	l.until.Store(0)
	l.mu.Lock()
	if l.failed == nil {
		l.failed = err
	}
	l.mu.Unlock()
	l.tell(err)
}

func (l *lease) tell(err error) {
	l.mu.Lock()
	waits := l.waits
	l.waits = nil
	l.mu.Unlock()
	for _, f := range waits {
		f(err)
	}
}

var (
	errNewer = errors.New("a newer process has the name of this node (cluster.node)")
	errDead  = errors.New("the other nodes have taken this one for dead, because it was silent for longer than cluster.lease, and have taken over its devices")
)

// renewals renews the lease four times per lease.
func (n *Node) renewals(ctx context.Context) {
	for sleep(ctx, n.config.Lease/4) {
		if err := n.renew(ctx); err != nil {
			if errors.Is(err, errNewer) || errors.Is(err, errDead) {
				n.lease.fail(err)
				n.options.Failed(err)
				return
			}
			n.members.steady = time.Time{}
			n.noteTrouble("the lease could not be renewed", err)
			continue
		}
		n.endShadows(ctx)
		n.buryTheDead(ctx)
		n.peers.forget(n)
		n.claims.grow(time.Now().Add(-time.Second))
	}
}

// renew renews the lease, and reads who else is there. Of the goroutine of renewals, and before it.
func (n *Node) renew(ctx context.Context) error {
	began, at := sinceStart(), time.Now()
	report := told{Report: unknownReport, Version: n.options.Version, Position: n.position(), Arriving: n.interest.arriving()}
	report.Full = n.router != nil && n.router.Short(message.Debtor{})
	if a := n.members.addresses.Load(); a != nil {
		report.Addresses = *a
	}
	if r := n.members.report.Load(); r != nil {
		report.Report = *r
	}
	text, err := json.Marshal(report)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, n.config.Lease/3)
	defer cancel()
	n.counts.commands.Add(2)
	script := renew.Exec(ctx, n.client, n.keys.nodes(), []string{n.config.Node, lifeText(n.life), string(text)})
	values, err := script.ToArray()
	if err != nil {
		return err
	}
	if len(values) == 0 {
		return errors.New("renewal: got no values")
	}
	switch first, _ := values[0].ToString(); {
	case first == "newer":
		return errNewer
	case first == "dead":
		return errDead
	case len(values) != 5:
		return fmt.Errorf("renewal: got %d values", len(values))
	}
	if err := n.makeInbox(ctx); err != nil { // not of an owner that is gone
		return err
	}
	if err := n.see(values); err != nil {
		return err
	}
	if n.members.steady.IsZero() {
		n.members.steady = at
	}
	n.lease.hold(began, n.config.Lease)
	return nil
}

// makeInbox makes the node's inbox if it is not there: at the start, and when Redis has lost it.
func (n *Node) makeInbox(ctx context.Context) error {
	key := n.keys.inbox(n.owner)
	there, err := n.client.Do(ctx, n.client.B().Exists().Key(key).Build()).AsBool()
	if err != nil || there {
		return err
	}
	return n.client.Do(ctx, n.client.B().Xadd().Key(key).Id("*").FieldValue().FieldValue("begun", "1").Build()).Error()
}

// position returns a position up to which this node has read the log, and below which nothing of it is on its way any more: neither a publication that does not reach Redis before the renewal, nor
// an item that it has to send on. A mark that has come back from its own inbox says that for all that came before it, and that it is a while ago.
func (n *Node) position() uint64 {
	at := n.moves.readBack.Load()
	for _, p := range n.peers.all() {
		if least := p.least(); least != 0 {
			at = min(at, least)
		}
	}
	return at
}

// see takes what a renewal has read.
func (n *Node) see(values []rueidis.RedisMessage) error {
	var maps [5]map[string]string
	for i := 1; i < 5; i++ {
		m, err := values[i].AsStrMap()
		if err != nil {
			return err
		}
		maps[i] = m
	}
	r := renewed{now: number(values[0]), lives: maps[1], times: maps[2], reports: maps[3], dead: maps[4]}
	bad := func(err error) { n.noteBad("what Redis has of a node is not what it should be", err) }
	list, gone := n.addForgotten(r.members(n.config.Lease, bad), &r), r.gone(bad)
	slices.SortFunc(list, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	for i := range list {
		list[i].Self = list[i].Name == n.config.Node
	}
	n.members.list.Store(&list)
	n.members.dead.Store(&gone)
	n.members.now.Store(r.now)
	for i := range list {
		if p := n.peers.find(list[i].owner()); p != nil {
			p.full.Store(list[i].full)
		}
	}
	return nil
}

// renewed is what a renewal reads: Redis' clock; by the names of nodes, their lives, when they renewed them, and their reports; by owners, when they died.
type renewed struct {
	now                         uint64
	lives, times, reports, dead map[string]string
}

// members returns the nodes in any order, without those that cannot be read: bad is told why.
func (r *renewed) members(lease time.Duration, bad func(error)) []Member {
	list := make([]Member, 0, len(r.lives))
	for name, life := range r.lives {
		if !validOwner(name + "/" + life) {
			bad(fmt.Errorf("node %q has life %q", name, life))
			continue
		}
		t := told{Report: unknownReport}
		if text, ok := r.reports[name]; ok { // one that has just begun has none
			if err := json.Unmarshal([]byte(text), &t); err != nil {
				bad(fmt.Errorf("report of %s: %w", name, err))
			}
		}
		t.Left, t.Devices, t.Moving = min(max(0, t.Left), 1), max(0, t.Devices), max(0, t.Moving)
		m := Member{Report: t.Report, position: t.Position, full: t.Full, arriving: t.Arriving}
		m.Name, m.Life, m.Version, m.Addresses = name, parse(life), t.Version, t.Addresses
		m.Node.Devices, m.Load = t.Devices, 1-t.Left
		m.Age, m.Up = r.since(parse(r.times[name])), r.since(m.Life)
		_, isDead := r.dead[m.owner()]
		switch {
		case isDead || m.Age > lease:
			m.State = devices.NodeDead
		case t.Leaving:
			m.State = devices.NodeDraining
		default:
			m.State = devices.NodeUp
		}
		list = append(list, m)
	}
	return list
}

// gone returns the dead owners that are not adopted yet, and how long ago they died.
func (r *renewed) gone(bad func(error)) map[string]time.Duration {
	gone := make(map[string]time.Duration, len(r.dead))
	for o, at := range r.dead {
		if !validOwner(o) {
			bad(fmt.Errorf("dead owner %q", o))
			continue
		}
		gone[o] = r.since(parse(at))
	}
	return gone
}

// since returns how long ago a time of Redis' clock was, 0 for one to come.
func (r *renewed) since(at uint64) time.Duration {
	if at >= r.now {
		return 0
	}
	return time.Duration(min(r.now-at, uint64(math.MaxInt64/time.Microsecond))) * time.Microsecond
}

// addForgotten adds the members that Redis has forgotten: before one is removed, every node has seen it dead. It renews its lease soon, and is there again; what is for it waits, and
// does not go to others as if it were gone. One that does not come back is gone when its lease has ended.
func (n *Node) addForgotten(list []Member, r *renewed) []Member {
	before := n.members.now.Load()
	for _, m := range *n.members.list.Load() {
		_, there := r.lives[m.Name]
		_, isDead := r.dead[m.owner()]
		m.Age += time.Duration(max(r.now, before)-before) * time.Microsecond
		if !there && !isDead && m.State != devices.NodeDead && m.Age <= n.config.Lease {
			list = append(list, m)
		}
	}
	return list
}

// buryTheDead takes members for dead whose lease has ended by Redis' clock. A node that could not renew lately itself takes nobody for dead, because Redis was away
// from others as well.
func (n *Node) buryTheDead(ctx context.Context) {
	if n.members.steady.IsZero() || time.Since(n.members.steady) < n.config.Lease {
		return
	}
	for _, m := range n.Members() {
		if m.Self || m.Age <= n.config.Lease {
			continue
		}
		lease := strconv.FormatInt(n.config.Lease.Microseconds(), 10)
		if err := bury.Exec(ctx, n.client, n.keys.nodes(), []string{m.Name, lifeText(m.Life), lease}).Error(); err != nil {
			n.noteTrouble("a dead node could not be noted", err)
		}
	}
}

func lifeText(life uint64) string { return strconv.FormatUint(life, 10) }

// parse returns a number of Redis'; 0 if it is none.
func parse(s string) uint64 {
	v, _ := strconv.ParseUint(s, 10, 64)
	return v
}

func number(m rueidis.RedisMessage) uint64 {
	s, _ := m.ToString()
	return parse(s)
}

// isNil reports whether Redis has answered that there is nothing.
func isNil(err error) bool { return rueidis.IsRedisNil(err) }
