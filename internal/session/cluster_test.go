package session

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
)

// cluster is several nodes in one process, with a directory, a store that they share, a log of what they want, and an inbox for each: what
// Redis and package cluster are in earnest, without failures of their own.
type cluster struct {
	t     testing.TB
	pause func() // before each step; may be nil

	mu      sync.Mutex
	devices map[string]*state
	epoch   uint64
	log     []announcement // the position of an entry is its index and 1
	nodes   []*node
	redirected, sentOn,
	forwarded atomic.Int64
}

// state is what all nodes know of a device.
type state struct {
	owner string
	epoch uint64
	ops   [][]byte // what makes its state
}

type announcement struct {
	node, filter string // no filter is an entry that announces nothing
	wants        bool
}

// node is one of the nodes.
type node struct {
	*world
	name    string
	cluster *cluster
	journal *fencedJournal
	work    sync.WaitGroup

	following sync.Mutex // held while what the log says is done
	position  atomic.Uint64

	mu      sync.Mutex
	changed *sync.Cond
	inbox   []item
	dirty   map[string]bool
	moved   map[string]Claim
	waits   []func(error)
	claims  map[string]int // under way

	publishing map[uint64]int // publications under way, by the position at their beginning

	shadowed []shadowed
	unheld   bool
	whenHeld []func(error)
	ended    bool
	remotes  map[string]*remote
	finds    Claim // what each claim finds, if From is set
	died     bool  // as others believe
}

type shadowed struct {
	device string
	Move
}

// item is one thing in an inbox.
type item struct {
	m      *message.Message
	q      message.QoS
	share  string // for one member of a share
	device string // for one device
	own    bool   // it is in the device's own space
	hops   int
	claim  *router.Claim // nil if nobody waits
	do     func()        // instead of a message
}

func newCluster(t testing.TB, c Config, names ...string) *cluster {
	x := &cluster{t: t, devices: make(map[string]*state)}
	for _, name := range names {
		x.add(c, name)
	}
	for _, n := range x.nodes {
		n.start()
	}
	return x
}

func (x *cluster) add(c Config, name string) {
	n := &node{name: name, cluster: x, dirty: map[string]bool{}, moved: map[string]Claim{}, claims: map[string]int{}, publishing: map[uint64]int{}, remotes: map[string]*remote{}}
	n.changed = sync.NewCond(&n.mu)
	n.journal = &fencedJournal{node: n, epochs: map[string]uint64{}}
	n.journal.changed = sync.NewCond(&n.journal.mu)
	memory := store.NewJournaled(store.Options{}, n.journal)
	r := router.New(router.Config{Far: n}, memory)
	c.Owners = n
	m, err := NewManager(c, r, memory, memory)
	if err != nil {
		x.t.Fatal(err)
	}
	n.world = &world{x.t, c, memory, r, m}
	x.nodes = append(x.nodes, n)
}

func (x *cluster) node(name string) *node {
	for _, n := range x.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

func (n *node) start() {
	for _, o := range n.cluster.nodes {
		n.remotes[o.name] = &remote{n, o}
	}
	n.work.Go(n.announce)
	n.work.Go(n.receive)
	n.work.Go(n.journal.run)
}

// close ends all nodes.
func (x *cluster) close() {
	for _, n := range x.nodes {
		n.manager.Close()
	}
	for _, n := range x.nodes {
		n.mu.Lock()
		n.ended = true
		n.changed.Broadcast()
		n.mu.Unlock()
		n.journal.end()
	}
	for _, n := range x.nodes {
		n.work.Wait()
	}
}

func (n *node) step() {
	if n.cluster.pause != nil {
		n.cluster.pause()
	}
}

// owner returns who has a device.
func (x *cluster) owner(device string) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if d := x.devices[device]; d != nil {
		return d.owner
	}
	return ""
}

// Claim implements Owners.
func (n *node) Claim(device string, done func(Claim, error)) {
	n.mu.Lock()
	n.claims[device]++
	n.mu.Unlock()
	n.work.Go(func() {
		n.step()
		n.journal.drain() // what ended before is in force
		c, ops := n.cluster.claim(device, n.name)
		if c.From != "" {
			n.journal.takes(device, c, ops)
		}
		n.step()
		if n.finds.From != "" {
			c.From, c.Orphans = n.finds.From, n.finds.Orphans
		}
		done(c, nil)
		n.mu.Lock()
		defer n.mu.Unlock()
		n.claims[device]--
		n.changed.Broadcast()
	})
}

func (x *cluster) claim(device, owner string) (c Claim, ops [][]byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	d := x.devices[device]
	if d == nil {
		d = new(state)
		x.devices[device] = d
	}
	if d.owner != owner {
		c.From = d.owner
		c.Found = len(d.ops) > 0
		x.epoch += 10
		d.owner, d.epoch = owner, x.epoch
		if c.From == "" {
			x.node(owner).journal.begins(device, d.epoch)
		}
	}
	c.Epoch = d.epoch
	return c, slices.Clone(d.ops)
}

// write makes a change of a device's state, or returns who has the device now.
func (x *cluster) write(w *write, owner string) (is string, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	d := x.devices[w.device]
	switch {
	case d == nil:
		return "", false
	case d.owner != owner || d.epoch != w.epoch:
		return d.owner, false
	case w.kind == opRelease:
		*d = state{}
	case w.kind == store.OpDrop:
		d.ops = nil
	default:
		d.ops = append(d.ops, w.op)
	}
	return owner, true
}

// opRelease ends a claim.
const opRelease store.Kind = 255

// Moved implements Owners.
func (n *node) Moved(device string, c Claim) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.moved[device] = c
	n.changed.Broadcast()
}

// Ended implements Owners.
func (n *node) Ended(device string, epoch uint64) {
	n.journal.put(write{device: device, epoch: epoch, kind: opRelease})
}

// Forward implements Owners.
func (n *node) Forward(device, to string, m *message.Message, q message.QoS, c *router.Claim) {
	n.cluster.forwarded.Add(1)
	n.send(to, item{m: m, q: q, device: device, claim: c})
}

// AskReceived implements Owners.
func (n *node) AskReceived(device, from string, epoch uint64, id uint16, done func(bool, error)) {
	n.send(from, item{do: func() { n.cluster.node(from).manager.Received(device, epoch, id, done) }})
}

// Held implements Owners.
func (n *node) Held() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.unheld
}

// Lives implements Owners.
func (n *node) Lives(owner string) bool {
	o := n.cluster.node(owner)
	return o != nil && !o.died
}

// WhenHeld implements Owners.
func (n *node) WhenHeld(f func(error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.whenHeld = append(n.whenHeld, f)
}

// Position implements router.Far.
func (n *node) Position() uint64 { return n.position.Load() }

// Changed implements router.Far.
func (n *node) Changed(filter string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dirty[filter] = true
	n.changed.Broadcast()
}

// WhenAnnounced implements router.Far.
func (n *node) WhenAnnounced(f func(error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waits = append(n.waits, f)
	n.changed.Broadcast()
}

// Space implements router.Far.
func (n *node) Space(device string, hits []router.Hit) []router.Hit {
	hits = slices.DeleteFunc(hits, func(h router.Hit) bool {
		s, ok := h.Subscriber.(router.Personal)
		return ok && s.Device() == device
	})
	switch owner := n.cluster.owner(device); owner {
	case "":
		return hits
	case n.name:
		return append(hits, router.Hit{Subscriber: own{n, item{device: device, own: true}}, QoS: message.ExactlyOnce})
	default:
		return append(hits, router.Hit{Subscriber: space{n.remotes[owner], device}, QoS: message.ExactlyOnce})
	}
}

// own delivers what is in the own space of a device to that, or sends it on.
type own struct {
	node *node
	item item
}

func (o own) Deliver(m *message.Message, q message.QoS, p *router.Publication) error {
	n, x := o.node, o.item
	err := n.manager.DeliverOwn(x.device, m, q, p)
	if !errors.Is(err, ErrNotHere) {
		return err
	}
	x.m = m
	if x.hops, x.claim = x.hops+1, nil; p != nil {
		x.claim = p.Claim()
	}
	if owner := n.cluster.owner(x.device); owner != "" {
		n.send(owner, x)
	} else {
		x.tell()
	}
	return nil
}

// tell answers the publisher of an item that nobody wants.
func (x *item) tell() {
	if c := x.claim; c != nil {
		go c.Done(nil)
	}
}

// space is the node that has a device, for what is in its own space.
type space struct {
	*remote
	device string
}

func (s space) Deliver(m *message.Message, q message.QoS, p *router.Publication) error {
	s.send(item{m: m, q: q, device: s.device, own: true}, p)
	return nil
}

// remote is another node.
type remote struct{ from, to *node }

func (*remote) Remote() {}

func (r *remote) Deliver(m *message.Message, q message.QoS, p *router.Publication) error {
	r.send(item{m: m, q: q, share: router.ShareOf(m)}, p)
	return nil
}

func (r *remote) send(x item, p *router.Publication) {
	if p != nil {
		x.claim = p.Claim()
	}
	r.from.send(r.to.name, x)
}

var errHops = errors.New("the device moves too fast")

// send puts an item into the inbox of a node, which keeps it, and tells its claim.
func (n *node) send(to string, x item) {
	o, err := n.cluster.node(to), error(nil)
	if o == nil || x.hops > 20 {
		err = errHops
		n.t.Errorf("nobody gets %s for %s", x.m.Topic, x.device)
	} else {
		o.mu.Lock()
		o.inbox = append(o.inbox, x)
		o.changed.Broadcast()
		o.mu.Unlock()
	}
	if c := x.claim; c != nil {
		n.work.Go(func() { c.Done(err) })
	}
}

// receive handles the items of the inbox.
func (n *node) receive() {
	for {
		n.mu.Lock()
		for len(n.inbox) == 0 && !n.ended {
			n.changed.Wait()
		}
		if n.ended {
			n.mu.Unlock()
			return
		}
		x := n.inbox[0]
		n.inbox = n.inbox[1:]
		n.mu.Unlock()
		n.step()
		n.handle(x)
	}
}

func (n *node) handle(x item) {
	if x.do != nil {
		x.do()
		return
	}
	n.follow(x.m.At)
	switch {
	case x.own:
		n.router.DeliverNear(router.Hit{Subscriber: own{n, x}, QoS: x.m.QoS}, x.m, n.handled)
	case x.device != "":
		n.router.DeliverNear(router.Hit{Subscriber: addressed{n, x}, QoS: x.q}, x.m, n.handled)
	default:
		n.router.PublishNear(x.m, router.Came{Share: x.share}, n.handled)
	}
}

// handled is what becomes of an item: its publisher has been answered.
func (n *node) handled(err error) {
	if err != nil {
		n.t.Errorf("node %s refuses an item: %v", n.name, err)
	}
}

// addressed delivers an item for one device.
type addressed struct {
	node *node
	item item
}

func (a addressed) Deliver(m *message.Message, q message.QoS, p *router.Publication) error {
	n, x := a.node, a.item
	err := n.manager.DeliverTo(x.device, m, q, p)
	if !errors.Is(err, ErrNotHere) {
		return err
	}
	n.cluster.sentOn.Add(1)
	if x.hops, x.claim = x.hops+1, nil; p != nil {
		x.claim = p.Claim()
	}
	n.send(n.cluster.owner(x.device), x)
	return nil
}

// follow does what the log says, up to a position at least.
func (n *node) follow(to uint64) {
	n.following.Lock()
	defer n.following.Unlock()
	n.followLocked(to)
}

func (n *node) followLocked(to uint64) {
	at := n.position.Load()
	if at >= to {
		return
	}
	n.cluster.mu.Lock()
	news := slices.Clone(n.cluster.log[at:to])
	n.cluster.mu.Unlock()
	for _, a := range news {
		switch r := n.remotes[a.node]; {
		case a.node == n.name || a.filter == "":
		case a.wants:
			n.router.SubscribeFar(a.filter, r)
		default:
			n.router.UnsubscribeFar(a.filter, r)
		}
	}
	n.position.Store(to)
}

// announce tells the others what the node wants, and which devices have moved here.
func (n *node) announce() {
	for n.nextAnnouncement() {
		n.step()
		n.following.Lock()
		n.mu.Lock()
		dirty, moved, waits := n.dirty, n.moved, n.waits
		n.dirty, n.moved, n.waits = map[string]bool{}, map[string]Claim{}, nil
		n.mu.Unlock()
		n.cluster.mu.Lock()
		for f := range dirty {
			n.cluster.log = append(n.cluster.log, announcement{n.name, f, n.router.Wants(f)})
		}
		n.cluster.log = append(n.cluster.log, announcement{node: n.name})
		p := uint64(len(n.cluster.log))
		n.cluster.mu.Unlock()
		for device, c := range moved {
			n.manager.Settle(device, c.Epoch, p)
		}
		n.followLocked(p)
		n.following.Unlock()
		for device, c := range moved {
			from := n.cluster.node(c.From)
			to := Move{To: n.name, Epoch: c.Epoch, Since: p, Connected: n.manager.Connected(device)}
			n.send(c.From, item{do: func() {
				from.manager.Lose(device, to)
				from.mu.Lock()
				from.shadowed = append(from.shadowed, shadowed{device, to})
				from.mu.Unlock()
			}})
		}
		for _, f := range waits {
			f(nil)
		}
		for _, o := range n.cluster.nodes { // all have to hear of it, some day
			n.send(o.name, item{do: func() {
				o.follow(p)
				for _, o := range n.cluster.nodes {
					o.unshadow()
				}
			}})
		}
	}
}

// published returns a position that no publication which is under way is below.
func (n *node) published() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	least := n.position.Load()
	for at, under := range n.publishing {
		if under > 0 {
			least = min(least, at)
		}
	}
	return least
}

// publishes runs f, which publishes.
func (n *node) publishes(f func()) {
	n.mu.Lock()
	at := n.position.Load()
	n.publishing[at]++
	n.mu.Unlock()
	f()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.publishing[at]--
}

// unshadow ends the shadows for which nothing is on its way any more.
func (n *node) unshadow() {
	least := n.position.Load()
	for _, o := range n.cluster.nodes {
		least = min(least, o.published())
	}
	n.mu.Lock()
	var over []shadowed
	n.shadowed = slices.DeleteFunc(n.shadowed, func(s shadowed) bool {
		is := s.Since <= least
		if is {
			over = append(over, s)
		}
		return is
	})
	n.mu.Unlock()
	for _, s := range over {
		n.send(n.name, item{do: func() { n.manager.Unshadow(s.device, s.Epoch) }}) // behind what is in the inbox
	}
}

func (n *node) nextAnnouncement() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.dirty)+len(n.moved)+len(n.waits) == 0 && !n.ended {
		n.changed.Wait()
	}
	return !n.ended
}

// fencedJournal gives what a node writes to the store that all share, which refuses what another node may write.
type fencedJournal struct {
	node *node

	mu      sync.Mutex
	changed *sync.Cond
	epochs  map[string]uint64 // of the node's claims
	writes  []write
	ended   bool
}

// write is an operation, or waits for those before.
type write struct {
	device string
	epoch  uint64
	kind   store.Kind
	op     []byte
	fence  func(error)

	written chan struct{} // see drain
}

// Add implements store.Journal.
func (j *fencedJournal) Add(op store.Op) {
	if op.Device == "" {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.writes = append(j.writes, write{device: op.Device, epoch: j.epochs[op.Device], kind: op.Kind, op: store.AppendOp(nil, &op)})
	j.changed.Broadcast()
}

// Commit implements store.Journal.
func (j *fencedJournal) Commit(done func(error)) { j.put(write{fence: done}) }

// Err implements store.Journal.
func (j *fencedJournal) Err() error { return nil }

func (j *fencedJournal) put(w write) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.writes = append(j.writes, w)
	j.changed.Broadcast()
}

func (j *fencedJournal) begins(device string, epoch uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.epochs[device] = epoch
}

// takes loads what another node has left of a device.
func (j *fencedJournal) takes(device string, c Claim, ops [][]byte) {
	j.mu.Lock()
	stale := j.epochs[device]
	j.mu.Unlock()
	if stale != 0 {
		j.node.manager.Lose(device, Move{To: c.From, Epoch: stale + 1})
	}
	j.begins(device, c.Epoch)
	memory := j.node.store.(*store.Memory)
	memory.Forget(device)
	for _, op := range ops {
		if err := memory.Apply(bytes.Clone(op)); err != nil {
			j.node.t.Error(err)
		}
	}
}

// run writes until the end.
func (j *fencedJournal) run() {
	for some := j.next(); some != nil; some = j.next() {
		j.node.step()
		for i := range some {
			switch w := &some[i]; {
			case w.written != nil:
				close(w.written)
			case w.fence != nil:
				w.fence(nil)
			default:
				j.write(w)
			}
		}
	}
}

// next returns what is to be written next; nil at the end.
func (j *fencedJournal) next() (some []write) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.writes) == 0 && !j.ended {
		j.changed.Wait()
	}
	some, j.writes = j.writes, nil
	return some
}

// write makes one change. If it is refused, the session is lost, and its message goes to the new owner.
func (j *fencedJournal) write(w *write) {
	n := j.node
	owner, ok := n.cluster.write(w, n.name)
	if ok {
		return
	}
	n.manager.Lose(w.device, Move{To: owner, Epoch: w.epoch + 1})
	if op, _ := store.ParseOp(w.op); w.kind == store.OpPush && owner != "" {
		n.cluster.redirected.Add(1)
		n.send(owner, item{m: op.Message, q: op.QoS, device: w.device})
	}
}

// drain returns when all that was given before has been written.
func (j *fencedJournal) drain() {
	written := make(chan struct{})
	j.mu.Lock()
	if j.ended {
		close(written)
	} else {
		j.writes = append(j.writes, write{written: written})
		j.changed.Broadcast()
	}
	j.mu.Unlock()
	<-written
}

func (j *fencedJournal) end() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = true
	j.changed.Broadcast()
}

// settled waits until nothing moves any more: no claim is under way, all inboxes are empty, all shadows have ended.
func (x *cluster) settled() {
	x.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !x.isSettled() {
		if time.Now().After(deadline) {
			x.t.Fatal("the cluster does not settle")
		}
		time.Sleep(time.Millisecond)
	}
}

func (x *cluster) isSettled() bool {
	for _, n := range x.nodes {
		n.mu.Lock()
		busy := len(n.inbox)+len(n.dirty)+len(n.moved)+len(n.waits)+len(n.shadowed) > 0
		for _, k := range slices.Collect(maps.Values(n.claims)) {
			busy = busy || k > 0
		}
		n.mu.Unlock()
		if busy || n.manager.Moves().Shadows > 0 {
			return false
		}
	}
	return true
}
