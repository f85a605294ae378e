package cluster

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/topic"
)

// Bounds of reading.
const (
	inboxEntries = 64
	inboxBlock   = 2 * time.Second
	inHandBytes  = 32 << 20 // of batches whose messages are not all safe; beyond it the inbox is not read
	trimAfter    = 16       // batches
	trimEvery    = time.Second
	heldTime     = 10 * time.Second // how long messages that wait for room at their receivers may hold up the inbox
)

// inbox is what other nodes have sent to this one. One goroutine (readInbox) reads it and hands out the items; another (trimInbox) removes the batches all of whose messages are
// safe.
type inbox struct {
	node *Node
	wake chan struct{} // for trimInbox; has room for one
	lost atomic.Bool   // Redis may have lost a part of it

	// Owned by the reader.
	last string              // ID of the last entry
	seen map[string]*numbers // of batches, by their senders

	// Guarded by mu.
	mu     sync.Mutex
	inHand []*entry // in order
	bytes  int
	room   chan struct{} // has room for one: something has left inHand
	done   int           // entries that can be trimmed since the last time
	upTo   string        // the ID of the last one of them
}

func (x *inbox) init(n *Node) {
	x.node = n
	x.wake, x.room = make(chan struct{}, 1), make(chan struct{}, 1)
	x.last, x.seen = "0-0", make(map[string]*numbers)
}

// entry is a batch whose messages are not all safe.
type entry struct {
	box   *inbox
	id    string
	bytes int
	began time.Time
	open  atomic.Int32 // messages, and the reader while it hands them out
	tell  func(error)  // e.told, made once
	letGo bool         // see letGo; guarded by inbox.mu
}

// told is told that one message is safe, or refused. A refusal may hide that another receiver has the message in memory, and that it is not safe yet: so the
// store is asked in any case, until it says that all is safe. If it ends before, the batch stays in the inbox.
func (e *entry) told(err error) {
	if n := e.box.node; err != nil {
		if n.ctx.Err() == nil {
			time.AfterFunc(retryAfter, func() { n.store.Commit(e.tell) })
		}
		return
	}
	if e.open.Add(-1) == 0 {
		e.box.finished()
	}
}

// finished moves on past the entries that are done.
func (x *inbox) finished() {
	x.mu.Lock()
	i := 0
	for i < len(x.inHand) && (x.inHand[i].letGo || x.inHand[i].open.Load() == 0) {
		x.upTo = x.inHand[i].id
		x.bytes -= x.inHand[i].bytes
		x.inHand[i] = nil
		i++
	}
	x.inHand = x.inHand[i:]
	x.done += i
	due := x.done >= trimAfter
	x.mu.Unlock()
	if i == 0 {
		return
	}
	notify(x.room)
	if due {
		notify(x.wake)
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// readInbox reads the inbox until ctx ends.
func (n *Node) readInbox(ctx context.Context) {
	x := &n.inbox
	key := n.keys.inbox(n.owner)
	var before time.Time // when the last batches were read
	for ctx.Err() == nil {
		if !x.awaitRoom(ctx) {
			return
		}
		if x.lost.Swap(false) {
			x.last = "0-0" // entries may have come again under lower IDs: those that were read are known by their numbers
			if err := n.makeInbox(ctx); err != nil {
				n.noteTrouble("this node's inbox could not be made again", err)
				x.lost.Store(true)
			}
		}
		read := n.client.B().Xread().Count(inboxEntries).Block(inboxBlock.Milliseconds()).Streams().Key(key).Id(x.last).Build()
		n.counts.commands.Add(1)
		streams, err := n.client.Do(ctx, read).AsXReadSlices()
		if err != nil {
			if !isNil(err) && ctx.Err() == nil {
				n.noteTrouble("this node's inbox could not be read", err)
				sleep(ctx, retryAfter)
			}
			continue
		}
		began := time.Now()
		for _, e := range streams[key] {
			x.last = e.ID
			body := ""
			for _, f := range e.FieldValues {
				if f.Field == "b" {
					body = f.Value
				}
			}
			n.takeBatch(ctx, e.ID, bytesOf(body))
		}
		if began.Sub(before) < 4*gather {
			time.Sleep(gather) // batches come one behind the other: one command may read several
		}
		before = time.Now()
	}
}

// awaitRoom waits until there is room for what may be read next.
func (x *inbox) awaitRoom(ctx context.Context) bool {
	for {
		x.mu.Lock()
		full := x.bytes >= inHandBytes
		x.mu.Unlock()
		if !full {
			return ctx.Err() == nil
		}
		select {
		case <-x.room:
		case <-ctx.Done():
			return false
		}
	}
}

// numbers are those of a sender's batches that have come: all up to one, and single ones above it, because a sender that learns late of a failover goes on before it
// repeats what was lost.
type numbers struct {
	upTo  uint64
	above map[uint64]struct{}
}

// mostAbove bounds numbers.above: what is missing below then will not come any more.
const mostAbove = 4096

// isNew reports whether a batch has not come before, and notes it.
func (x *inbox) isNew(h *batchHead) bool {
	s := x.seen[h.from]
	if s == nil {
		maps.DeleteFunc(x.seen, func(from string, _ *numbers) bool { return x.node.isGone(from) })
		s = &numbers{upTo: h.number - 1, above: make(map[uint64]struct{})} // what came before was for an earlier life of this node
		x.seen[strings.Clone(h.from)] = s
	}
	return s.add(h.number)
}

func (s *numbers) add(n uint64) bool {
	if _, ok := s.above[n]; ok || n <= s.upTo {
		return false
	}
	s.above[n] = struct{}{}
	if len(s.above) > mostAbove {
		least := n
		for m := range s.above {
			least = min(least, m)
		}
		s.upTo = least - 1
	}
	for {
		if _, ok := s.above[s.upTo+1]; !ok {
			return true
		}
		s.upTo++
		delete(s.above, s.upTo)
	}
}

// errRepeated says that a batch has come before.
var errRepeated = errors.New("the batch has come before")

// takeBatch hands out the items of a batch, unless it has come before.
func (n *Node) takeBatch(ctx context.Context, id string, body []byte) {
	x := &n.inbox
	e := &entry{box: x, id: id, bytes: len(body), began: time.Now()}
	e.tell = e.told
	e.open.Store(1)
	x.mu.Lock()
	x.inHand = append(x.inHand, e)
	x.bytes += e.bytes
	x.mu.Unlock()
	defer e.told(nil)
	if len(body) == 0 {
		return
	}
	checked := false
	_ = eachItem(body, n.ahead(), func(h *batchHead, i *item) error {
		if !checked {
			if !x.isNew(h) {
				n.counts.repeated.Add(1)
				return errRepeated
			}
			checked = true
		}
		n.takeItem(ctx, e, h.from, i)
		return nil
	}, func(err error) { n.noteBad("a batch of another node is not what it should be", err) })
}

// noteBad notes that something that Redis had is not what it should be. It is skipped.
func (n *Node) noteBad(what string, err error) {
	n.counts.bad.Add(1)
	n.noteTrouble(what, err)
}

// takeItem hands out one item. What is sent at a position that this node has not read yet waits until it has: by then the sessions know from which position on they take
// messages.
func (n *Node) takeItem(ctx context.Context, e *entry, from string, i *item) {
	for i.at > n.Position() && !n.awaitPosition(ctx, i.at, n.shadowTime()) {
		if ctx.Err() != nil {
			return
		}
		if end, err := n.logEnd(ctx); err == nil && end < i.at { // no node has read the log as far as that: its sender would have raised it
			n.noteBad("an item of another node waits for a position that the log does not have", errItem)
			return
		}
	}
	n.counts.received.Add(1)
	switch i.kind {
	case forAll:
		n.takeForAll(e, from, i)
	case forDevice:
		n.takeForDevice(e, from, i)
	case taken:
		n.lostTo(strings.Clone(i.device), session.Move{To: strings.Clone(from), Epoch: i.epoch, Since: i.since, Connected: i.hops > 0})
	case elsewhere:
		if !validOwner(i.owner) {
			n.noteBad("an item of another node names no owner", errItem)
			return
		}
		n.cache.set(strings.Clone(i.device), strings.Clone(i.owner))
	case request:
		n.takeRequest(from, i)
	case response:
		n.takeResponse(i)
	case ofDead:
		n.takeOfDead(e, i)
	case markOf:
		if from == n.owner {
			n.moves.readBack.Store(i.since)
		}
	default:
		n.noteBad("an item of another node is of a kind that this program does not know", errItem)
	}
}

// message returns the message of an item, or nil.
func (n *Node) message(i *item) *message.Message {
	m, err := i.message()
	if err != nil {
		n.noteBad("a message of another node is not what it should be", err)
		return nil
	}
	return m
}

// takeForAll delivers a message to those who want it here.
func (n *Node) takeForAll(e *entry, from string, i *item) {
	m := n.message(i)
	if m == nil {
		return
	}
	if i.device != "" {
		own := item{kind: forDevice, device: strings.Clone(i.device), qos: m.QoS, own: true, hops: i.hops}
		n.takeParcel(e, from, &own, m)
	}
	e.open.Add(1)
	n.router.PublishNear(m, router.Came{Share: i.share}, func(err error) {
		if i.share != "" && errors.Is(err, router.ErrGone) { // the last member left: another node may have one
			n.router.PublishShared(m, i.share, e.tell)
			return
		}
		e.told(err)
	})
}

// takeForDevice delivers a message that another node sends on to a device.
func (n *Node) takeForDevice(e *entry, from string, i *item) {
	if m := n.message(i); m != nil {
		n.takeParcel(e, from, i, m)
	}
}

// takeParcel delivers a message to one device. If neither the device is here nor what it has left, another node has it.
func (n *Node) takeParcel(e *entry, from string, i *item, m *message.Message) {
	e.open.Add(1)
	n.deliverTo(i, m, func() {
		if !n.claims.has(i.device) {
			n.sendOn(e, from, i, m)
		}
	}, e.tell)
}

// toDevice is a router.Subscriber: the device of an item, or what is left of its session here. otherwise is called if there is neither; it may be nil.
type toDevice struct {
	sessions  Sessions
	device    string
	q         message.QoS
	own       bool
	otherwise func()
}

// Deliver implements router.Subscriber. A device without a session wants nothing.
func (d *toDevice) Deliver(m *message.Message, _ message.QoS, p *router.Publication) error {
	deliver := d.sessions.DeliverTo
	if d.own {
		deliver = d.sessions.DeliverOwn
	}
	err := deliver(d.device, m, d.q, p)
	if !errors.Is(err, session.ErrNotHere) {
		return err
	}
	if d.otherwise != nil {
		d.otherwise()
	}
	return nil
}

// deliverTo delivers a message to the device of an item. The caller holds no locks.
func (n *Node) deliverTo(i *item, m *message.Message, otherwise func(), done func(error)) {
	to := &toDevice{n.sessions, strings.Clone(i.device), i.qos, i.own, otherwise}
	n.router.DeliverNear(router.Hit{Subscriber: to, QoS: i.qos}, m, done)
}

// sendOn sends an item on to the node that has its device, and tells the sender who that is.
func (n *Node) sendOn(e *entry, from string, i *item, m *message.Message) {
	if i.hops >= maxHops {
		n.counts.hops.Add(1)
		n.router.Drop(m, "", router.TooManyHops, 1)
		return
	}
	e.open.Add(1)
	on := item{kind: forDevice, at: i.at, device: strings.Clone(i.device), qos: i.qos, own: i.own, hops: i.hops + 1}
	n.pursue(e, lookup{item: on, m: m, tell: strings.Clone(from), pursued: m.QoS > message.AtMostOnce})
}

// pursue sends an item on, again and again until its message is safe elsewhere: the publisher was told that it is. QoS 0 is tried once.
func (n *Node) pursue(e *entry, l lookup) {
	l.done = answerFunc(func(err error) {
		switch {
		case err == nil || !l.pursued:
			e.told(nil)
		case n.ctx.Err() == nil:
			time.AfterFunc(pursueAgain, func() { n.pursue(e, l) })
		}
	})
	n.finder.find(l)
}

// pursueAgain is after how long an item is sent on again that could not be.
const pursueAgain = time.Second

// letGo lets the inbox move on past batches that have held it up for too long: otherwise one device that hardly acknowledges would keep all other devices of the node from getting
// anything, and the node from hearing of requests. What their messages have changed is safe first; those that still wait for room at a receiver wait on, in memory alone.
func (x *inbox) letGo() {
	most := min(inHandBytes, x.node.config.InboxBytes) / 2
	x.mu.Lock()
	var late []*entry
	for i := 0; x.bytes >= most && i < len(x.inHand) && time.Since(x.inHand[i].began) > x.node.heldTime; i++ {
		late = append(late, x.inHand[i])
	}
	x.mu.Unlock()
	if len(late) == 0 {
		return
	}
	x.node.store.Commit(func(err error) {
		if err != nil {
			return // the next tick tries again
		}
		x.mu.Lock()
		for _, e := range late {
			if !e.letGo {
				e.letGo = true
				x.node.counts.letGo.Add(1)
			}
		}
		x.mu.Unlock()
		x.node.noteTrouble("receivers have held up this node's inbox for too long: their messages wait in memory alone", errHeldUp)
		x.finished()
	})
}

var errHeldUp = errors.New("devices or backends do not take their messages")

// trimInbox removes from Redis what is done.
func (n *Node) trimInbox(ctx context.Context) {
	x := &n.inbox
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		select {
		case <-x.wake:
		case <-tick.C:
			x.letGo()
		case <-ctx.Done():
			return
		}
		if !n.Held() { // others may have this node's devices: who adopts what it had sends on what is in its inbox
			continue
		}
		x.mu.Lock()
		upTo, done := x.upTo, x.done
		x.done = 0
		x.mu.Unlock()
		if done == 0 {
			continue
		}
		n.counts.commands.Add(1)
		err := n.client.Do(ctx, n.client.B().Xtrim().Key(n.keys.inbox(n.owner)).Minid().Threshold(following(upTo)).Build()).Error()
		if err != nil {
			n.noteTrouble("this node's inbox could not be trimmed", err)
			x.mu.Lock()
			x.done += done
			x.mu.Unlock()
		}
	}
}

// following returns the lowest ID behind an entry's.
func following(id string) string {
	ms, seq, _ := strings.Cut(id, "-")
	return ms + "-" + strconv.FormatUint(parse(seq)+1, 10)
}

func spaceOf(m *message.Message) string { return topic.SpaceOf(m.Topic) }
