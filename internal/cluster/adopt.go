package cluster

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	storeredis "github.com/longline/longline/internal/store/redis"
)

// What a dead owner had is adopted by one of the others, in this order:
//
//  1. Its devices are claimed, unless another node has claimed them meanwhile, and their sessions are made and announced.
//  2. When no node has a claim from the dead owner that it has not announced yet, the log says that the owner is to get nothing more.
//  3. When every node has read that, what is in the dead owner's inbox goes to all nodes, for the sessions that have come from that owner.
//  4. The inbox is deleted, while it is empty. Who sends to it later finds none, and sends to all nodes as well.
//
// An adopter that dies as well is followed by another one, which begins again.

// Bounds of an adoption.
const (
	adoptPace = 2000 // devices per second
	adoptPage = 200  // devices that are claimed together
	drainPage = 16   // batches of a dead owner's inbox that are sent on at a time
)

// adoptions adopts what dead owners had, one after the other, until ctx ends.
func (n *Node) adoptions(ctx context.Context) {
	for sleep(ctx, n.config.Lease/4) {
		dead := n.members.dead.Load()
		if dead == nil || !n.Held() {
			continue
		}
		for o, ago := range *dead {
			if o == n.owner || ctx.Err() != nil {
				continue
			}
			mine, err := n.adoptTurn(ctx, o)
			if err == nil && mine {
				n.log.Info("another node has died: this one adopts its devices", "node", nodeOf(o), "life", lifeOf(o))
				err = n.adopt(ctx, o, time.Now().Add(-ago))
			}
			if err != nil {
				n.noteTrouble("the devices of a dead node could not be adopted yet", err)
			}
		}
	}
}

func (n *Node) adoptTurn(ctx context.Context, o string) (bool, error) {
	turn := strconv.FormatInt(n.config.Lease.Microseconds(), 10)
	return adoptTurn.Exec(ctx, n.client, n.keys.nodes(), []string{o, n.owner, turn}).AsBool()
}

var errTurn = errors.New("another node adopts them now")

// keepTurn makes the adopter's turn longer, or returns an error if it is another node's.
func (n *Node) keepTurn(ctx context.Context, o string) error {
	mine, err := n.adoptTurn(ctx, o)
	if err == nil && !mine {
		return errTurn
	}
	return err
}

// adopt does the steps for one dead owner.
func (n *Node) adopt(ctx context.Context, o string, died time.Time) error {
	if err := n.adoptDevices(ctx, o, died); err != nil {
		return err
	}
	if err := n.awaitArrivals(ctx, o); err != nil {
		return err
	}
	at, err := n.say(ctx, o, "!")
	if err != nil {
		return err
	}
	if err := n.awaitAll(ctx, o, func(m *Member) bool { return m.position >= at }); err != nil {
		return err
	}
	for empty := false; !empty; {
		if err := n.drain(ctx, o); err != nil {
			return err
		}
		if empty, err = deleteEmpty.Exec(ctx, n.client, []string{n.keys.inbox(o)}, nil).AsBool(); err != nil {
			return err
		}
	}
	if _, err := n.say(ctx, o, "."); err != nil {
		return err
	}
	if err := n.cleanInterest(ctx, o); err != nil {
		return err
	}
	return adopted.Exec(ctx, n.client, n.keys.nodes(), []string{o, nodeOf(o), lifeText(lifeOf(o))}).Error()
}

// adoptDevices claims the devices of a dead owner, at a bounded pace, and makes their sessions.
func (n *Node) adoptDevices(ctx context.Context, o string, died time.Time) error {
	key := n.keys.devices(nodeOf(o))
	for cursor := uint64(0); ; {
		page, err := n.client.Do(ctx, n.client.B().Sscan().Key(key).Cursor(cursor).Count(adoptPage).Build()).AsScanEntry()
		if err != nil {
			return err
		}
		for devices := range slices.Chunk(page.Elements, adoptPage) {
			began := time.Now()
			if err := n.adoptPage(ctx, o, devices, died); err != nil {
				return err
			}
			if err := n.keepTurn(ctx, o); err != nil {
				return err
			}
			if rest := time.Duration(len(devices))*time.Second/adoptPace - time.Since(began); rest > 0 && !sleep(ctx, rest) {
				return ctx.Err()
			}
		}
		if cursor = page.Cursor; cursor == 0 {
			return nil
		}
	}
}

// adoptPage claims some devices together.
func (n *Node) adoptPage(ctx context.Context, o string, devices []string, died time.Time) error {
	answers := make(chan error, len(devices))
	for _, d := range devices {
		n.store.Adopt(d, o, func(c storeredis.Claimed, err error) { answers <- n.adoptDevice(d, &c, err, died) })
	}
	var failed error
	for range devices {
		select {
		case err := <-answers:
			failed = cmp.Or(err, failed)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return failed
}

// adoptDevice takes the answer to the claim of a dead owner's device, whose error is err, and makes its session. It is called by the store before it
// tells the next claim of the device: a connection that has come meanwhile would find no session otherwise, and begin one.
func (n *Node) adoptDevice(device string, c *storeredis.Claimed, err error, died time.Time) error {
	switch {
	case errors.Is(err, storeredis.ErrNotOwner): // it is elsewhere
		return nil
	case err != nil:
		return err
	case c.From == "": // it is here
		return nil
	}
	n.counts.adopted.Add(1)
	n.took(device, c)
	return n.sessions.Adopt(device, claimOf(c), died)
}

// awaitArrivals waits until no node has a session from a dead owner that it has not announced.
func (n *Node) awaitArrivals(ctx context.Context, o string) error {
	announced := make(chan error, 1)
	n.interest.mu.Lock()
	n.interest.changed++ // behind all that has come until now
	n.interest.mu.Unlock()
	n.interest.wakeUp()
	n.WhenAnnounced(func(err error) { announced <- err })
	select {
	case err := <-announced:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	after := n.Position()
	return n.awaitAll(ctx, o, func(m *Member) bool { return m.position >= after && !slices.Contains(m.arriving, o) })
}

// awaitAll waits until all living members are as they should be. Each tells what it is by a renewal.
func (n *Node) awaitAll(ctx context.Context, o string, ready func(*Member) bool) error {
	for {
		all := true
		for _, m := range n.Members() {
			if m.Age <= n.config.Lease && m.owner() != o && !ready(&m) {
				all = false
			}
		}
		if all {
			return nil
		}
		if err := n.keepTurn(ctx, o); err != nil {
			return err
		}
		if !sleep(ctx, n.config.Lease/8) {
			return ctx.Err()
		}
	}
}

// say writes about an owner that is gone into the log.
func (n *Node) say(ctx context.Context, o, what string) (uint64, error) {
	text, err := forget.Exec(ctx, n.client, n.keys.interest(), []string{o, strconv.FormatUint(n.Position(), 10), strconv.Itoa(n.logBytes), what}).ToString()
	return parse(text), err
}

// cleanInterest removes what an owner had announced.
func (n *Node) cleanInterest(ctx context.Context, o string) error {
	key := n.keys.interest()[1]
	for cursor := uint64(0); ; {
		page, err := n.client.Do(ctx, n.client.B().Hscan().Key(key).Cursor(cursor).Match(o+"\x00*").Count(1000).Build()).AsScanEntry()
		if err != nil {
			return err
		}
		var fields []string
		for i := 0; i+1 < len(page.Elements); i += 2 {
			fields = append(fields, page.Elements[i])
		}
		if len(fields) > 0 {
			if err := n.client.Do(ctx, n.client.B().Hdel().Key(key).Field(fields...).Build()).Error(); err != nil {
				return err
			}
		}
		if cursor = page.Cursor; cursor == 0 {
			return nil
		}
	}
}

// drain sends on what is in the inbox of a dead owner, and removes it from there.
func (n *Node) drain(ctx context.Context, o string) error {
	key := n.keys.inbox(o)
	for {
		entries, err := n.client.Do(ctx, n.client.B().Xrange().Key(key).Start("-").End("+").Count(drainPage).Build()).AsXRange()
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			return nil
		}
		for _, e := range entries {
			if err := n.sendOnBatch(ctx, o, bytesOf(e.FieldValues["b"])); err != nil {
				return err
			}
			if err := n.client.Do(ctx, n.client.B().Xdel().Key(key).Id(e.ID).Build()).Error(); err != nil {
				return err
			}
		}
		if err := n.keepTurn(ctx, o); err != nil {
			return err
		}
	}
}

// sendOnBatch sends on the items of a batch that was for an owner that is gone, and waits until they are safe.
func (n *Node) sendOnBatch(ctx context.Context, o string, body []byte) error {
	if len(body) == 0 {
		return nil
	}
	done := newGather(func(error) {})
	answered := make(chan error, 1)
	done.done = func(err error) { answered <- err }
	_ = eachItem(body, n.ahead(), func(_ *batchHead, i *item) error {
		n.sendElsewhere(o, i, done)
		return nil
	}, func(err error) { n.noteBad("a batch in the inbox of a dead node is not what it should be", err) })
	done.Done(nil)
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sendElsewhere sends on an item that was for an owner that is gone. What is only between two nodes goes with it.
func (n *Node) sendElsewhere(o string, i *item, done *gathered) {
	var m *message.Message
	switch i.kind {
	case forAll, forDevice, ofDead:
		if m = n.message(i); m == nil {
			return
		}
	default:
		return
	}
	if i.device != "" {
		done.add()
		on := item{kind: forDevice, at: i.at, device: strings.Clone(i.device), qos: i.qos, hops: i.hops + 1}
		if i.kind == forAll {
			on.at, on.qos, on.own = 0, m.QoS, true
		}
		n.cache.set(on.device, "") // whoever had it is gone
		n.finder.find(lookup{item: on, m: m, done: done})
	}
	switch {
	case i.kind == forDevice:
	case i.share != "":
		done.add()
		n.router.PublishShared(m, i.share, done.Done)
	default:
		n.toAll(o, i.hops+1, m, done)
	}
}

// toAll sends a message that was for the sessions of an owner that is gone to all nodes.
func (n *Node) toAll(dead string, hops uint64, m *message.Message, done *gathered) {
	i := item{kind: ofDead, at: m.At, owner: dead, hops: hops}
	for _, member := range n.Members() {
		if member.owner() == dead {
			continue
		}
		done.add()
		if member.Self {
			n.router.PublishNear(m, router.Came{Of: dead}, done.Done)
			continue
		}
		on := i
		if err := n.peers.get(n, member.owner()).add(&on, m, done); err != nil {
			done.Done(err)
		}
	}
}

// takeOfDead delivers a message that was for a dead owner to the sessions that have come from there.
func (n *Node) takeOfDead(e *entry, i *item) {
	if m := n.message(i); m != nil {
		e.open.Add(1)
		n.router.PublishNear(m, router.Came{Of: strings.Clone(i.owner)}, e.tell)
	}
}

// again sends an item whose owner turned out to be gone. a is told in any case, unless the error is not nil.
func (n *Node) again(o string, i *item, m *message.Message, a answer) error {
	if m == nil || i.hops >= maxHops || n.ctx.Err() != nil {
		return errNodeAway // it is only between two nodes, or was sent on too often, or this node ends
	}
	done := newGather(func(err error) {
		if a != nil {
			a.Done(err)
		}
	})
	i.body = message.AppendRecord(nil, m)
	on := *i
	on.shift = 0
	go func() { // the caller may hold locks
		n.sendElsewhere(o, &on, done)
		done.Done(nil)
	}()
	return nil
}

// handOver ends a peer whose owner is gone: what waited for it goes elsewhere.
func (p *peer) handOver(b *batch) {
	p.mu.Lock()
	p.ended = true
	waiting := append([]*batch{b}, p.waiting...)
	p.waiting = nil
	p.mu.Unlock()
	for _, b := range waiting {
		err := p.node.sendOnBatch(p.node.ctx, p.owner, b.body)
		p.done(b, err)
	}
}

// adoptionDone notes that the log says so.
func (n *Node) adoptionDone(o string) { n.forget(o) }

// gathered tells once when all that was added has been told.
type gathered struct {
	done func(error)
	open atomic.Int32
	mu   sync.Mutex
	err  error
}

// newGather returns one with one part open, for its maker.
func newGather(done func(error)) *gathered {
	g := &gathered{done: done}
	g.open.Store(1)
	return g
}

func (g *gathered) add() { g.open.Add(1) }

// Done implements answer.
func (g *gathered) Done(err error) {
	if err != nil {
		g.mu.Lock()
		g.err = err
		g.mu.Unlock()
	}
	if g.open.Add(-1) == 0 {
		g.mu.Lock()
		err := g.err
		g.mu.Unlock()
		g.done(err)
	}
}
