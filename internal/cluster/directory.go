package cluster

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
)

// claims are the devices that this node owns, with the epochs of their claims.
type claims struct {
	mu     sync.RWMutex
	epochs map[string]uint64
	kept   map[string]struct{}  // those that have no session, and commands
	young  map[string]time.Time // those that were claimed lately, and when
}

func (c *claims) init() {
	c.epochs = make(map[string]uint64)
	c.kept, c.young = make(map[string]struct{}), make(map[string]time.Time)
}

// has reports whether this node has the device.
func (c *claims) has(device string) bool {
	here, _ := c.state(device)
	return here
}

// state reports whether this node has the device, and whether its session may not be among the router's subscribers yet, or was not until lately.
func (c *claims) state(device string) (here, young bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, here = c.epochs[device]
	if here && len(c.young) > 0 {
		_, young = c.young[device]
	}
	return here, young
}

// grow ends the youth of claims that were answered before a moment.
func (c *claims) grow(before time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.young, func(_ string, since time.Time) bool { return since.Before(before) })
}

// count returns how many there are.
func (c *claims) count() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.epochs)
}

func (c *claims) set(device string, epoch uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epochs[device] = epoch
	c.young[device] = time.Now()
	delete(c.kept, device)
}

// remove removes a claim of an epoch below one, and reports whether there was one.
func (c *claims) remove(device string, below uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.epochs[device]
	if !ok || e >= below {
		return false
	}
	delete(c.epochs, device)
	delete(c.kept, device)
	delete(c.young, device)
	return true
}

// endSession notes that a claim of an epoch has no session.
func (c *claims) endSession(device string, epoch uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epochs[device] == epoch {
		c.kept[device] = struct{}{}
	}
}

// withoutSession reports whether a claim has no session, and returns its epoch.
func (c *claims) withoutSession(device string) (epoch uint64, without bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, without = c.kept[device]
	return c.epochs[device], without
}

// directory remembers for a while who has devices. It has two halves: what is not asked for while one fills is forgotten with the other.
type directory struct {
	mu       sync.Mutex
	now, old map[string]known
}

// known is who has a device: the owner, or nobody until a moment.
type known struct {
	owner string
	until time.Time // zero: until it is found to be wrong
}

// Bounds of the directory.
const (
	knownDevices = 64 << 10 // in each half
	knownNobody  = time.Second
)

func (d *directory) init() { d.now, d.old = make(map[string]known), make(map[string]known) }

// owner returns who has a device as far as is known; "" with ok says that nobody has it.
func (d *directory) owner(device string) (owner string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k, ok := d.now[device]
	if !ok {
		if k, ok = d.old[device]; !ok {
			return "", false
		}
	}
	if !k.until.IsZero() && time.Now().After(k.until) {
		return "", false
	}
	return k.owner, true
}

// set notes who has a device. It keeps the strings.
func (d *directory) set(device, owner string) {
	k := known{owner: owner}
	if owner == "" {
		k.until = time.Now().Add(knownNobody)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.now) >= knownDevices {
		d.now, d.old = make(map[string]known), d.now
	}
	d.now[device] = k
}

// Space implements router.Far. Exactly one of the receivers leads to the device.
func (n *Node) Space(device string, hits []router.Hit) []router.Hit {
	here, young := n.claims.state(device)
	if here {
		hits, there := n.oneSession(hits, device)
		if young && !there { // its session may have come between the match and now: the inbox looks again, and waits for it
			hits = append(hits, router.Hit{Subscriber: &n.peers.get(n, n.owner).own, QoS: message.ExactlyOnce})
		}
		return hits
	}
	o, ok := n.cache.owner(device)
	switch {
	case !ok || o == n.owner:
		return append(withoutDevice(hits, device), router.Hit{Subscriber: &n.finder, QoS: message.ExactlyOnce})
	case o == "":
		return hits
	}
	hits = withoutDevice(hits, device)
	p := n.peers.get(n, o)
	for i := range hits {
		if hits[i].Subscriber == router.Subscriber(p) {
			hits[i].Subscriber = &p.own
			return hits
		}
	}
	return append(hits, router.Hit{Subscriber: &p.own, QoS: message.ExactlyOnce})
}

// mover is a session that may be elsewhere, so that this is what is left of it.
type mover interface{ Elsewhere() bool }

// oneSession removes what earlier sessions of a device have left here, and reports whether its session is among the receivers.
func (n *Node) oneSession(hits []router.Hit, device string) (_ []router.Hit, there bool) {
	hits = slices.DeleteFunc(hits, func(h router.Hit) bool {
		s, ok := h.Subscriber.(router.Personal)
		if !ok || s.Device() != device {
			return false
		}
		m, ok := h.Subscriber.(mover)
		left := ok && m.Elsewhere()
		there = there || !left
		return left
	})
	return hits, there
}

// withoutDevice removes what is left of a device's session here, which would send the message on as well.
func withoutDevice(hits []router.Hit, device string) []router.Hit {
	return slices.DeleteFunc(hits, func(h router.Hit) bool {
		s, ok := h.Subscriber.(router.Personal)
		return ok && s.Device() == device
	})
}

// lookup is an item for a device of which it is not known who has it.
type lookup struct {
	item item
	m    *message.Message
	done answer // may be nil
	tell string // a node to be told who has the device; may be empty
	from time.Time

	refusable bool // the publisher can be refused, see peer.full

	pursued bool // it is tried again if it fails, so that it is not dropped
}

// finder asks Redis who has devices, many at a time, and sends the items there.
type finder struct {
	node *Node
	wake chan struct{} // has room for one

	mu      sync.Mutex
	waiting []lookup
	bytes   int
}

// Bounds of what waits for the directory, and of one question.
const (
	lookups     = 20_000
	lookupBytes = 16 << 20
	lookupsOnce = 512
)

func (f *finder) init(n *Node) { f.node, f.wake = n, make(chan struct{}, 1) }

// Remote implements router.Remote.
func (f *finder) Remote() {}

// Deliver implements router.Subscriber: m is in the own space of a device.
func (f *finder) Deliver(m *message.Message, q message.QoS, p *router.Publication) error {
	l := lookup{item: item{kind: forAll, at: m.At, device: topic.SpaceOf(m.Topic)}, m: m}
	if p != nil && q > message.AtMostOnce {
		l.done, l.refusable = p.Claim(), !p.Acknowledged()
	}
	if err := f.add(l); err != nil {
		if l.done != nil {
			l.done.Done(nil)
		}
		return err
	}
	return nil
}

// find is add for who is answered by a call in any case.
func (f *finder) find(l lookup) {
	if err := f.add(l); err != nil && l.done != nil {
		l.done.Done(err)
	}
}

func (f *finder) add(l lookup) error {
	l.from = time.Now()
	f.mu.Lock()
	if len(f.waiting) >= lookups || f.bytes >= lookupBytes {
		f.mu.Unlock()
		f.node.counts.refused.Add(1)
		return errNodeFull
	}
	f.waiting = append(f.waiting, l)
	f.bytes += l.m.Size()
	f.mu.Unlock()
	notify(f.wake)
	return nil
}

// run asks in turn, until ctx ends.
func (f *finder) run(ctx context.Context) {
	for {
		select {
		case <-f.wake:
		case <-ctx.Done():
			for _, l := range f.take(lookups) {
				l.end(errClosed)
			}
			return
		}
		for {
			batch := f.take(lookupsOnce)
			if len(batch) == 0 {
				break
			}
			f.ask(ctx, batch)
		}
	}
}

func (f *finder) take(most int) []lookup {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := min(most, len(f.waiting))
	batch := f.waiting[:n:n]
	f.waiting = f.waiting[n:]
	for _, l := range batch {
		f.bytes -= l.m.Size()
	}
	return batch
}

func (l *lookup) end(err error) {
	if l.done != nil {
		l.done.Done(err)
	}
}

// ask asks who has the devices of a batch, and sends the items there, in order.
func (f *finder) ask(ctx context.Context, batch []lookup) {
	n := f.node
	var devices []string
	at := make(map[string]int, len(batch))
	for _, l := range batch {
		if _, ok := at[l.item.device]; !ok {
			at[l.item.device] = len(devices)
			devices = append(devices, l.item.device)
		}
	}
	var owners []string
	for first := true; ; first = false {
		if !first && (time.Since(batch[0].from) > n.patience || !sleep(ctx, retryAfter)) {
			for _, l := range batch {
				l.end(errNodeAway)
			}
			return
		}
		ask, cancel := context.WithTimeout(ctx, sendTime)
		var err error
		n.counts.commands.Add(1)
		owners, err = n.store.Owner(ask, devices)
		cancel()
		if err == nil {
			break
		}
		n.noteTrouble("the owners of devices could not be read", err)
	}
	for i, d := range devices {
		n.cache.set(strings.Clone(d), owners[i]) // d may be a view of a topic, and of the whole message with it
	}
	for _, l := range batch {
		n.toOwner(owners[at[l.item.device]], l)
	}
}

// toOwner sends an item to who has its device.
func (n *Node) toOwner(o string, l lookup) {
	switch {
	case o == "":
		n.counts.unowned.Add(1)
		l.end(nil) // as if the device had no subscription
		return
	case o == n.owner:
		n.toOwn(l)
		return
	}
	if l.tell != "" && l.tell != o && l.tell != n.owner {
		_ = n.peers.get(n, l.tell).add(&item{kind: elsewhere, device: l.item.device, owner: o}, nil, nil) // it asks again if it is not told
	}
	var err error
	if p := n.peers.get(n, o); l.refusable && p.full.Load() {
		n.counts.refused.Add(1)
		err = errNodeFull
	} else {
		err = p.add(&l.item, l.m, l.done)
	}
	if err != nil {
		if !l.pursued {
			n.router.Drop(l.m, "", router.RefusedFor(err), 1)
		}
		l.end(err)
	}
}

// toOwn delivers an item to a device that this node has. If the claim's answer is still under way here, or its session, the item waits for that.
func (n *Node) toOwn(l lookup) {
	if !n.claims.has(l.item.device) {
		if time.Since(l.from) > n.patience {
			n.counts.unowned.Add(1)
			l.end(nil)
			return
		}
		time.AfterFunc(claimTime, func() { n.toOwn(l) })
		return
	}
	i := l.item
	if i.kind == forAll {
		i.own, i.qos = true, l.m.QoS
	}
	done := func(error) {}
	if l.done != nil {
		done = l.done.Done
	}
	n.deliverTo(&i, l.m, nil, done)
}

// claimTime is after how long an item asks again whether a claim is answered.
const claimTime = 5 * time.Millisecond
