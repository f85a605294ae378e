package cluster

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
)

// Bounds of what waits to be sent.
const (
	batchBytes   = 64 << 10 // a batch that has these takes no more
	peerBytes    = 16 << 20 // that wait for one node
	waitingBytes = 64 << 20 // that wait for all nodes together
	maxHops      = 4        // how often an item is sent on
)

// gather is how long a batch waits for more items while items come one after the other.
const gather = time.Millisecond

// answer is who is told that Redis has an item, or why not: a *router.Claim, or an answerFunc.
type answer interface{ Done(err error) }

type answerFunc func(error)

func (f answerFunc) Done(err error) { f(err) }

// batch is what is put into an inbox by one command.
type batch struct {
	number  uint64
	body    []byte
	items   int
	size    int // bytes of its items
	answers []answer
	least   uint64 // the lowest Message.At of its items; 0 if none has one
	began   time.Time
	told    time.Time // when Redis had it
}

// peer sends to another owner's inbox. Its goroutine (run) sends one batch at a time, so that items arrive in the order in which they were given; meanwhile the next batch fills.
//
// It is a router.Subscriber for what the owner has announced. peer.own is another one, for what is in the own space of a device that the owner has.
type peer struct {
	// Static after construction.
	node  *Node
	owner string
	key   string // of the inbox
	own   owned

	wake chan struct{} // has room for one
	lost atomic.Bool   // Redis may have lost what it had lately: the recent batches are sent again
	full atomic.Bool   // the node can keep no more messages: publications of QoS 1 and 2 are refused, as they are there

	// Owned by run.
	sent      int // batches
	sentBytes int
	unchecked int      // bytes that were sent since the inbox was last measured
	recent    []*batch // that Redis has, for a while

	// Guarded by mu, under which nothing else is locked.
	mu      sync.Mutex
	waiting []*batch // in order; the last one fills
	sending *batch   // on its way to Redis
	bytes   int      // of waiting and sending
	number  uint64   // of the last batch that was begun
	scratch []byte
	last    time.Time // when the last item came
	ended   bool      // the owner is gone: nothing is taken any more
}

func newPeer(n *Node, owner string) *peer {
	p := &peer{node: n, owner: owner, key: n.keys.inbox(owner), wake: make(chan struct{}, 1), last: time.Now()}
	p.own.peer = p
	return p
}

// Remote implements router.Remote.
func (p *peer) Remote() {}

// Deliver implements router.Subscriber.
func (p *peer) Deliver(m *message.Message, q message.QoS, by *router.Publication) error {
	return p.deliver(m, q, by, "")
}

// owned is a peer as the node that has a device.
type owned struct{ peer *peer }

// Remote implements router.Remote.
func (o *owned) Remote() {}

// Deliver implements router.Subscriber.
func (o *owned) Deliver(m *message.Message, q message.QoS, by *router.Publication) error {
	return o.peer.deliver(m, q, by, spaceOf(m))
}

// deliver takes a message for the receivers on the other node. With device, the node has the device in whose space it is.
func (p *peer) deliver(m *message.Message, q message.QoS, by *router.Publication, device string) error {
	i := item{kind: forAll, at: m.At, device: device, share: router.ShareOf(m)}
	if by == nil || q == message.AtMostOnce {
		return p.add(&i, m, nil)
	}
	if p.full.Load() && !by.Acknowledged() { // one that a share hands on would be lost
		p.node.counts.refused.Add(1)
		return errNodeFull
	}
	// The right is taken before the item can be told: the peer's goroutine may be faster than this one.
	c := by.Claim()
	if err := p.add(&i, m, c); err != nil {
		c.Done(nil) // the error is the answer
		return err
	}
	return nil
}

// The refusals of a peer.
var (
	errNodeFull = &router.Refusal{Why: router.NodeFull, Text: "too much waits for another node of the cluster", Like: router.ErrTooLate}
	errNodeAway = &router.Refusal{Why: router.NodeAway, Text: "another node of the cluster cannot be reached", Like: router.ErrTooLate}
)

// add adds an item to the batch that fills: with m, its record is the body. a is told later, unless add returns an error; it may be nil.
func (p *peer) add(i *item, m *message.Message, a answer) error {
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return p.node.again(p.owner, i, m, a)
	}
	if m != nil {
		p.scratch = message.AppendRecord(p.scratch[:0], m)
		i.body = p.scratch
	}
	if p.bytes >= peerBytes || p.node.waiting.Load() >= waitingBytes {
		p.mu.Unlock()
		p.node.counts.refused.Add(1)
		return errNodeFull
	}
	b := p.fill()
	size := len(b.body)
	b.put(i)
	if a != nil {
		b.answers = append(b.answers, a)
	}
	if i.at != 0 && (b.least == 0 || i.at < b.least) {
		b.least = i.at
	}
	size = len(b.body) - size
	b.size += size
	p.bytes += size
	p.mu.Unlock()
	p.node.waiting.Add(int64(size))
	p.wakeUp()
	return nil
}

func (p *peer) wakeUp() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// idle returns for how long nothing was sent; 0 if something waits.
func (p *peer) idle() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sending != nil || len(p.waiting) > 0 {
		return 0
	}
	return time.Since(p.last)
}

// put appends an item.
func (b *batch) put(i *item) {
	b.body = protowire.AppendTag(b.body, batchItem, protowire.BytesType)
	// The size of the size is that of most items: what is longer is moved.
	at := len(b.body)
	b.body = append(b.body, 0, 0)
	b.body = i.append(b.body)
	n := len(b.body) - at - 2
	size := protowire.SizeVarint(uint64(n))
	if size != 2 {
		b.body = append(b.body, 0, 0, 0)
		copy(b.body[at+size:], b.body[at+2:at+2+n])
		b.body = b.body[:at+size+n]
	}
	protowire.AppendVarint(b.body[at:at:at+size], uint64(n))
	b.items++
}

// fill returns the batch that fills. The peer is locked.
func (p *peer) fill() *batch {
	if n := len(p.waiting); n > 0 && len(p.waiting[n-1].body) < batchBytes {
		return p.waiting[n-1]
	}
	p.number++
	b := &batch{number: p.number, began: time.Now(), body: make([]byte, 0, firstRoom)}
	b.body = batchHead{p.node.owner, p.number, p.node.ahead()}.append(b.body)
	p.waiting = append(p.waiting, b)
	return b
}

// firstRoom is how many bytes a batch has room for at first.
const firstRoom = 2 << 10

// next returns the next batch to send, or nil. A batch that fills waits for more while others come, but for the time gather at most.
func (p *peer) next() (b *batch, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		return nil, 0
	}
	b = p.waiting[0]
	now := time.Now()
	if busy := now.Sub(p.last) < 4*gather; busy && len(b.body) < batchBytes {
		if wait = gather - now.Sub(b.began); wait > 0 {
			return nil, wait
		}
	}
	p.last = now
	p.waiting[0] = nil
	p.waiting = p.waiting[1:]
	p.sending = b
	return b, 0
}

// least returns the lowest Message.At of what is not in Redis yet; 0 if there is none.
func (p *peer) least() (least uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	see := func(b *batch) {
		if b.least != 0 && (least == 0 || b.least < least) {
			least = b.least
		}
	}
	if p.sending != nil {
		see(p.sending)
	}
	for _, b := range p.waiting {
		see(b)
	}
	return least
}

// run sends batches until ctx ends or the owner is gone.
func (p *peer) run(ctx context.Context) {
	for {
		if p.lost.Swap(false) {
			p.sendAgain(ctx)
		}
		b, wait := p.next()
		switch {
		case b != nil:
			p.send(ctx, b)
			if p.isEnded() {
				return
			}
			continue
		case wait > 0:
			time.Sleep(wait)
			continue
		}
		if !p.rest(ctx) {
			p.end(errNodeAway)
			return
		}
		if p.isEnded() {
			return
		}
	}
}

// rest waits for something to send, and reports whether ctx is still well. Meanwhile it lets recent batches go.
func (p *peer) rest(ctx context.Context) bool {
	var old <-chan time.Time
	if len(p.recent) > 0 {
		t := time.NewTimer(keepRecent)
		defer t.Stop()
		old = t.C
	}
	select {
	case <-p.wake:
	case <-old:
		p.recent = nil
	case <-ctx.Done():
		return false
	}
	return true
}

func (p *peer) isEnded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

// How often a batch is tried again.
const (
	retryAfter = 100 * time.Millisecond
	sendTime   = 2 * time.Second // of one try
)

// send puts a batch into the inbox, and tells its answers. While Redis is away it tries again, for patience at most from when the batch began.
func (p *peer) send(ctx context.Context, b *batch) {
	var err error
	if !p.awaitCredit(ctx, b) {
		p.node.counts.refused.Add(uint64(b.items))
		p.done(b, errNodeFull)
		return
	}
	for first := true; ; first = false {
		if !first {
			if time.Since(b.began) > p.node.patience {
				p.node.counts.failed.Add(uint64(b.items))
				err = errNodeAway
				break
			}
			if !sleep(ctx, retryAfter) {
				err = errNodeAway
				break
			}
		}
		var there bool
		if there, err = p.put(ctx, b); err != nil {
			p.node.noteTrouble("a batch for another node could not be put into its inbox", err)
			continue
		}
		if there {
			break
		}
		// There is no such inbox: the owner is gone, or Redis has forgotten what it had, and the owner makes a new one.
		if p.node.isGone(p.owner) {
			p.handOver(b)
			return
		}
	}
	if err == nil {
		p.keep(b)
		if !p.node.Held() {
			err = errNodeAway // others may have taken this node for dead, and moved on without what it sent
		}
	}
	p.done(b, err)
}

// How often an inbox is measured, and how long a batch is kept that Redis may lose by a failover.
const (
	creditStep  = 1 << 20 // bytes that are sent to it
	creditEvery = 50 * time.Millisecond
	keepRecent  = 4 * time.Second
	recentBytes = 16 << 20 // per node
)

// awaitCredit waits while too much is in the inbox, for patience at most from when b began, and reports whether there is room.
func (p *peer) awaitCredit(ctx context.Context, b *batch) bool {
	p.sent++
	p.sentBytes += len(b.body)
	p.unchecked += len(b.body)
	for p.unchecked > min(creditStep, p.node.config.InboxBytes/8) {
		p.node.counts.commands.Add(1)
		entries, err := p.node.client.Do(ctx, p.node.client.B().Xlen().Key(p.key).Build()).AsInt64()
		if err != nil || int(entries)*(p.sentBytes/p.sent) < p.node.config.InboxBytes { // while Redis is away, sending waits
			p.unchecked = 0
			return true
		}
		if time.Since(b.began) > p.node.patience || !sleep(ctx, creditEvery) {
			return false
		}
	}
	return true
}

// keep keeps a batch that Redis has, in case that a failover loses it.
func (p *peer) keep(b *batch) {
	b.told = time.Now()
	p.recent = append(p.recent, b)
	bytes, first := 0, len(p.recent)
	for first > 0 && b.told.Sub(p.recent[first-1].told) < keepRecent && bytes < recentBytes {
		first--
		bytes += len(p.recent[first].body)
	}
	clear(p.recent[:first])
	p.recent = p.recent[first:]
}

// sendAgain sends the recent batches again, under the numbers that they had.
func (p *peer) sendAgain(ctx context.Context) {
	for i := 0; i < len(p.recent); {
		there, err := p.put(ctx, p.recent[i])
		if err == nil && there {
			i++
			continue
		}
		if p.node.isGone(p.owner) || !sleep(ctx, retryAfter) {
			return
		}
	}
}

// put tries to put a batch into the inbox, and reports whether there is one.
func (p *peer) put(ctx context.Context, b *batch) (there bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	c := p.node.client
	add := c.B().Xadd().Key(p.key).Nomkstream().Id("*").FieldValue().FieldValue("b", stringOf(b.body)).Build()
	p.node.counts.commands.Add(1)
	err = c.Do(ctx, add).Error()
	if isNil(err) {
		return false, nil
	}
	return err == nil, err
}

// done tells the answers of a batch that Redis has, or that is given up.
func (p *peer) done(b *batch, err error) {
	p.mu.Lock()
	p.sending = nil
	p.bytes -= b.size
	p.mu.Unlock()
	p.node.waiting.Add(-int64(b.size))
	if err == nil {
		p.node.counts.batches.Add(1)
		p.node.counts.sent.Add(uint64(b.items))
	}
	for _, a := range b.answers {
		a.Done(err)
	}
}

// end refuses all that waits: the node ends, or the owner is gone and what waited was handed over.
func (p *peer) end(err error) {
	p.mu.Lock()
	p.ended = true
	waiting := p.waiting
	p.waiting = nil
	p.mu.Unlock()
	for _, b := range waiting {
		p.done(b, err)
	}
}

// sleep waits, and reports whether ctx is still well.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
