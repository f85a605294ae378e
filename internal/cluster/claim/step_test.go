package claim

import (
	"fmt"
	"slices"
)

// rules are the rules of the protocol that a mutation breaks.
type rules uint32

const (
	noFence         rules = 1 << iota // writes are not fenced
	sameEpoch                         // a claim does not raise the epoch
	nearIsZero                        // At is 0 in what is published at the same node
	logsEnd                           // a move without a new filter makes no entry in the log
	readAhead                         // a node reads past its own announcement before it knows it
	noRedirect                        // a refused write is dropped
	noShadow                          // a session that moved leaves nothing
	allSentOn                         // what is left of a session sends everything on
	oneLeft                           // a new claim ends what is left of an earlier session here
	positionOnly                      // a node renews its position whatever it has not sent yet
	inboxForgotten                    // a node renews its position whatever its inbox has
	drainFirst                        // an adopter drains the inbox before the devices have owners
	removeEarly                       // an adopter removes the interest before those who claimed have announced
	inboxStays                        // batches to an adopted node's inbox are taken
	anySender                         // what an owner before the last one sends on is taken like what the last one does
	noPlace                           // the device does not say which items are written
	readPast                          // what is left of a session ends though the log has lost the announcement
	highestOnly                       // a batch with a number below the last one's is taken for a repetition
	replayForgotten                   // a node renews its position whatever it may have to send again
	noReplay                          // nothing is written again after a failover
	noSince                           // the device does not say its owner's Since
	noSeen                            // a moved session does not know what it has taken
	claimingSkips                     // items for a device whose claim is on its way are dropped
	ackAnyway                         // a publisher is answered by a node that does not hold its lease
	noAdoption                        // nobody adopts
	ruleCount       = iota
)

// scenario is what may happen in a walk.
type scenario struct {
	name      string
	connects  []int // nodes to which the device connects, in this order
	publisher []int // nodes that publish a message, in this order
	deaths    uint8
	pauses    uint8
	victim    int
	adopter   int
	shared    bool // node 1 has another device with the same filter
	long      bool // hundreds of thousands of states
	moved     bool // the first connection has come, and its node has announced
	apart     bool // a node claims only when no claim is under way: fewer states
	failover  part // what a failover sets back
	twice     bool // QoS 2 may come twice: a window that remains
}

func (s *scenario) start() world {
	var w world
	w.clock = 1
	w.r.fence = Fence[owner]{1, own(0)}
	w.add(0, false)
	if s.shared {
		w.add(1, false)
	}
	for i := range w.nodes {
		w.nodes[i] = node{alive: true, at: w.clock, wants: w.r.wanted()}
	}
	a := &w.nodes[0]
	a.role, a.epoch, a.told = live, 1, true
	w.deaths, w.pauses = s.deaths, s.pauses
	w.forgetful = s.failover != 0
	if s.moved {
		k := walk{scenario: *s}
		for range 4 { // it connects, the claim's answer, announce, settle
			done := false
			k.emit = func(name string, next world) {
				if !done && slices.Contains([]string{"the device connects to 1", "the claim's answer", "announce", "settle"}, name) {
					w, done = next, true
				}
			}
			at := w
			k.connect(&at)
			k.deviceSteps(&at, s.connects[0])
		}
	}
	return w
}

// wanted returns the nodes that want the filter.
func (r *redis) wanted() (wants uint8) {
	for _, e := range r.log[:r.n] {
		wants = e.apply(wants)
	}
	return wants
}

func (e entry) apply(wants uint8) uint8 {
	if e.remove || e.node == nodes {
		return wants &^ bit(int(e.node))
	}
	return wants | bit(int(e.node))
}

func (w *world) tick() uint8 { w.clock++; return w.clock }

func (w *world) add(n int, remove bool) uint8 {
	e := entry{w.tick(), uint8(n), remove}
	if w.r.n == maxLog {
		w.full = true
		return e.at
	}
	w.r.log[w.r.n] = e
	w.r.n++
	return e.at
}

// send appends an item to a node's inbox. It reports whether that is there.
func (w *world) send(to int, i item) bool {
	in := &w.r.in[to]
	if in.gone && !in.deaf {
		return false
	}
	if in.n == maxItems {
		w.full = true
		return true
	}
	w.places[to]++
	i.order = w.places[to]
	in.items[in.n] = i
	in.n++
	return true
}

// forget takes the entries that all have read out of the log, so that fewer states differ.
func (w *world) forget() {
	if w.forgetful {
		return
	}
	for w.r.n > 1 {
		for i := range w.nodes {
			if nd := &w.nodes[i]; nd.alive && !nd.woke && nd.at < w.r.log[0].at {
				return
			}
		}
		w.r.wants = w.r.log[0].apply(w.r.wants)
		copy(w.r.log[:], w.r.log[1:])
		w.r.n--
		w.r.log[w.r.n] = entry{}
	}
}

// quiet reports whether no message is on its way any more, nor will be.
func (k *walk) quiet(w *world) bool {
	if k.failover != 0 {
		return false
	}
	for i := range w.nodes {
		nd := &w.nodes[i]
		if nd.out != 0 || nd.hand.kind != 0 || nd.near.kind != 0 {
			return false
		}
		for j, in := 0, &w.r.in[i]; j < int(in.n); j++ {
			if in.items[j].kind != taken && (!w.processed(i, in.items[j].order) || w.r.dead&bit(i) != 0 || i == k.victim && w.deaths+w.pauses > 0) {
				return false
			}
		}
	}
	return int(w.asked) == len(k.publisher)
}

// rest forgets what decides nothing any more in a quiet world, so that fewer states differ.
func (w *world) rest() {
	w.r.wants, w.r.log, w.r.n = 0, [maxLog]entry{}, 0
	for i := range w.nodes {
		nd := &w.nodes[i]
		if nd.left = [2]left{}; nd.alive && !nd.woke {
			nd.at, nd.wants, nd.told = w.clock, 0, true
			if w.phase == 0 {
				nd.did = 0
			}
		}
		w.r.in[i].n, w.r.in[i].items = 0, [maxItems]item{}
		if w.phase == 0 {
			w.places[i] = 0
		}
	}
}

type walk struct {
	scenario
	broken rules
	three  bool // three sessions of a node have moved on
	emit   func(name string, w world)
}

func (k *walk) breaks(r rules) bool { return k.broken&r != 0 }

// steps emits what may happen next.
func (k *walk) steps(w *world) {
	for n := range nodes {
		if nd := &w.nodes[n]; nd.alive && !nd.woke {
			k.deviceSteps(w, n)
			k.logSteps(w, n)
			k.inboxSteps(w, n)
		}
	}
	k.publish(w)
	k.connect(w)
	if k.failover != 0 {
		k.failovers(w)
	} else {
		k.faults(w)
	}
}

func (k *walk) do(name string, n int, w *world, f func(w *world, nd *node)) {
	next := *w
	f(&next, &next.nodes[n])
	if k.quiet(&next) {
		next.rest()
	}
	k.emit(name, next)
}

// deviceSteps are the ways of a claim, and what the device does.
func (k *walk) deviceSteps(w *world, n int) {
	nd := &w.nodes[n]
	switch nd.role {
	case claiming:
		k.do("the claim's answer", n, w, func(_ *world, nd *node) { nd.role = restored })
	case restored:
		k.do("announce", n, w, func(w *world, nd *node) {
			nd.role = announced
			if k.breaks(logsEnd) && w.r.wanted()&bit(n) != 0 {
				nd.since = w.r.log[w.r.n-1].at
			} else {
				nd.since = w.add(n, false)
			}
		})
	case announced:
		k.do("settle", n, w, func(_ *world, nd *node) { nd.role = live })
	case live:
		if !nd.told {
			k.do("tell the owner before", n, w, func(w *world, nd *node) {
				nd.told = true
				w.send(int(nd.from)-1, item{kind: taken, at: max(nd.since, nd.again), sender: own(n), by: own(n), epoch: uint8(nd.epoch)})
			})
		}
		if (nd.queue != 0 || w.r.fence.Owner != own(n)) && !k.fellBack(w, n) {
			k.do("the device has what is queued, or its connection ends", n, w, func(w *world, nd *node) {
				if !k.allowed(w, n) {
					k.lose(nd, w.r.fence.Owner, 0)
					return
				}
				w.r.queue, w.r.done = w.r.queue&^nd.queue, w.r.done|nd.queue
				w.had |= nd.queue
				if k.failover != 0 {
					nd.done |= nd.queue
					nd.fresh &^= nd.queue
				}
				w.r.since, nd.queue = nd.since, 0
			})
		}
	}
	for i := range nd.left {
		l := &nd.left[i]
		if l.on && l.until != 0 && w.r.dead&bit(n) == 0 && k.mayEnd(w, n, l) {
			k.do("end what is left", n, w, func(w *world, nd *node) {
				nd.left[i] = left{}
				if nd.role == none && !nd.left[0].on && !nd.left[1].on && (n != 1 || !k.shared) {
					w.add(n, true)
				}
			})
		}
	}
}

func (k *walk) allowed(w *world, n int) bool {
	return k.breaks(noFence) || w.r.fence.Allows(own(n), w.nodes[n].epoch)
}

// fellBack reports whether a node sees at its next write that Redis fell back to before its claim: it claims again first.
func (k *walk) fellBack(w *world, n int) bool { return w.r.fence.Epoch < w.nodes[n].epoch }

func (k *walk) mayEnd(w *world, n int, l *left) bool {
	if w.phase > 0 && !w.r.has(l.until) && !k.breaks(readPast) {
		return false
	}
	for i := range w.nodes {
		y := &w.nodes[i]
		if w.r.dead&bit(i) != 0 {
			continue
		}
		if !y.alive {
			return false // its last renewed position is not enough, and nobody knows that it is dead
		}
		if k.renewed(w, i) < uint64(l.until) {
			return false
		}
	}
	if l.from != 0 && w.r.dead&bit(int(l.from)-1) != 0 && !w.r.in[l.from-1].gone {
		return false
	}
	return true
}

// renewed returns the position that a node renews.
func (k *walk) renewed(w *world, n int) uint64 {
	y := &w.nodes[n]
	undone := uint64(Unsettled)
	if y.out != 0 && !k.breaks(positionOnly) {
		undone = uint64(y.outOf.at)
	}
	if y.near.kind != 0 {
		undone = min(undone, uint64(y.near.at))
	}
	in := &w.r.in[n]
	for _, i := range in.items[:in.n] {
		if !w.processed(n, i.order) && i.kind != taken && !k.breaks(inboxForgotten) {
			undone = min(undone, uint64(i.at))
		}
	}
	if w.phase > 0 && !k.breaks(replayForgotten) {
		undone = min(undone, w.replayed(n))
	}
	return Renewed(uint64(y.at), undone)
}

// lose makes what is left of a session of the session, which is at another node now.
func (k *walk) lose(nd *node, to owner, until uint8) {
	l := left{true, nd.since, nd.from, nd.place, nd.limit, nd.seen, to, until, to}
	if nd.from == 0 || k.breaks(noSeen) {
		l.seen = 0
	}
	if nd.role != live {
		l.since = never
	}
	nd.role, nd.epoch, nd.since, nd.from, nd.place, nd.limit, nd.queue, nd.seen, nd.told = none, 0, 0, 0, 0, 0, 0, 0, false
	nd.again, nd.before, nd.done, nd.known = 0, Fence[owner]{}, 0, 0
	if k.breaks(noShadow) {
		return
	}
	if nd.left[0].on {
		if nd.left[1].on {
			k.three = true
		}
		nd.left[1] = nd.left[0]
	}
	nd.left[0] = l
}

// claim makes node n the owner.
func (k *walk) claim(w *world, n int, from owner, f Fence[owner]) {
	nd := &w.nodes[n]
	if nd.role == live {
		k.lose(nd, from, 0)
	}
	if k.breaks(oneLeft) {
		nd.left = [2]left{}
	}
	nd.before, w.r.fence = w.r.fence, f
	nd.role, nd.epoch, nd.since, nd.from, nd.place = claiming, f.Epoch, 0, from, w.r.place
	if k.breaks(noPlace) {
		nd.place = 0
	}
	if nd.limit = w.r.since; k.breaks(noSince) {
		nd.limit = never
	}
	nd.queue, nd.seen, nd.told = w.r.queue, w.r.queue, false
	w.r.place, w.r.since = 0, never
	if k.failover != 0 {
		nd.known = w.r.queue | w.r.done
	}
}

// underway reports whether a claim has to wait for another one.
func (k *walk) underway(w *world) bool {
	for i := range w.nodes {
		if nd := &w.nodes[i]; k.apart && (nd.role != none && nd.role != live || nd.role == live && !nd.told) {
			return true
		}
	}
	return false
}

func (k *walk) connect(w *world) {
	if int(w.next) == len(k.connects) {
		return
	}
	n := k.connects[w.next]
	nd := &w.nodes[n]
	if !nd.alive || nd.woke || w.r.dead&bit(n) != 0 {
		k.do("the device finds its node dead", n, w, func(w *world, _ *node) { w.next++ })
		return
	}
	if nd.role != none && nd.role != live || k.underway(w) {
		return
	}
	k.do(fmt.Sprintf("the device connects to %d", n), n, w, func(w *world, nd *node) {
		w.next++
		epoch := w.r.fence.Epoch
		if !k.breaks(sameEpoch) {
			epoch = uint64(w.tick())
		}
		if f, from := w.r.fence.Claim(own(n), nd.epoch, epoch); from != 0 {
			k.claim(w, n, from, f)
		}
	})
}

// logSteps are those of the reader of the log.
func (k *walk) logSteps(w *world, n int) {
	nd := &w.nodes[n]
	for _, e := range w.r.log[:w.r.n] {
		if e.at <= nd.at {
			continue
		}
		if nd.role == announced && e.at == nd.since && !k.breaks(readAhead) {
			return
		}
		if nd.role >= announced && nd.since < e.at && nd.from != 0 && k.failover != 0 && !w.r.has(nd.since) && nd.again == 0 {
			return // the entry does not follow on what the node has read: it announces again first
		}
		k.do("read the log", n, w, func(w *world, nd *node) {
			nd.at, nd.wants = e.at, e.apply(nd.wants)
			w.forget()
		})
		return
	}
}

// publish is the next message, and its way into the inboxes.
func (k *walk) publish(w *world) {
	if int(w.asked) < len(k.publisher) {
		n := k.publisher[w.asked]
		if nd := &w.nodes[n]; !nd.alive || nd.woke {
			k.do("nobody publishes", n, w, func(w *world, _ *node) { w.asked++ })
		} else if nd.out == 0 && nd.near.kind == 0 {
			k.do(fmt.Sprintf("publish at %d", n), n, w, func(w *world, nd *node) {
				i := item{kind: matched, msg: bit(int(w.asked)), at: nd.at, sender: own(n), by: own(n)}
				w.at[w.asked] = nd.at
				w.asked++
				nd.out, nd.outOf = nd.wants&^bit(n), i
				if nd.role > claiming || nd.left[0].on || nd.left[1].on {
					if nd.near = i; k.breaks(nearIsZero) {
						nd.near.at = 0
					}
				}
				k.answer(w, n)
			})
		}
	}
	for n := range w.nodes {
		nd := &w.nodes[n]
		if !nd.alive || nd.woke {
			continue
		}
		for to := range nodes {
			if nd.out&bit(to) != 0 {
				k.do(fmt.Sprintf("send to %d", to), n, w, func(w *world, nd *node) {
					if !w.send(to, nd.outOf) {
						k.mark(w, nd.outOf, own(to), never)
					}
					nd.out &^= bit(to)
					k.answer(w, n)
				})
			}
		}
	}
}

// answer tells the publisher once all have its message.
func (k *walk) answer(w *world, n int) {
	nd := &w.nodes[n]
	if nd.out != 0 || nd.near.kind != 0 {
		return
	}
	if w.r.dead&bit(n) == 0 || k.breaks(ackAnyway) {
		w.acked |= nd.outOf.msg
	}
	nd.outOf = item{}
}

// mark sends an item of a dead owner's inbox to all nodes.
func (k *walk) mark(w *world, i item, dead owner, place uint8) {
	i.dead, i.place = dead, place
	for n := range nodes {
		if w.r.dead&bit(n) == 0 {
			w.send(n, i)
		}
	}
}

func (w *world) nextItem(n int) *item {
	in := &w.r.in[n]
	for i := range in.items[:in.n] {
		if !w.processed(n, in.items[i].order) {
			return &in.items[i]
		}
	}
	return nil
}

// inboxSteps process what came for a node.
func (k *walk) inboxSteps(w *world, n int) {
	nd := &w.nodes[n]
	if nd.hand.kind != 0 {
		k.sendOn(w, n)
		return
	}
	if nd.near.kind != 0 {
		k.process(w, n, nd.near)
	}
	if i := w.nextItem(n); i != nil {
		k.process(w, n, *i)
	}
}

// trim removes the items at the head of an inbox whose places are in did.
func (w *world) trim(n int, did uint16) {
	in := &w.r.in[n]
	i := uint8(0)
	for i < in.n && did&(1<<in.items[i].order) != 0 {
		i++
	}
	rest := *in
	in.n, in.items = in.n-i, [maxItems]item{}
	copy(in.items[:], rest.items[i:rest.n])
}

// finish ends the processing of an item; order 0 is what was published here.
func (k *walk) finish(w *world, n int, order uint8) {
	nd := &w.nodes[n]
	if order == 0 {
		nd.near = item{}
		k.answer(w, n)
		return
	}
	if nd.did |= 1 << order; n != k.victim || k.deaths+k.pauses == 0 {
		w.trim(n, nd.did)
	}
}

func (k *walk) process(w *world, n int, i item) {
	nd := &w.nodes[n]
	if i.kind == taken {
		k.do("hear of the new owner", n, w, func(w *world, nd *node) {
			k.notice(nd, i)
			k.finish(w, n, i.order)
		})
		return
	}
	if i.order != 0 && i.at > nd.at && !k.breaks(readAhead) {
		return // the node's own position has to be there first
	}
	if nd.role == claiming && (i.kind == addressed || i.dead != 0) && !k.breaks(claimingSkips) {
		return
	}
	if i.kind == addressed && w.receiver(n, &i, k) == nil && nd.role <= claiming && !nd.left[0].on && !nd.left[1].on {
		k.forward(w, n, i)
		return
	}
	if nd.role > claiming && k.fellBack(w, n) {
		return
	}
	k.do("process", n, w, func(w *world, nd *node) { k.deliver(w, n, i) })
}

// receiver returns what of the device is here and takes the item: the session, what is left of one, or nil.
func (w *world) receiver(n int, i *item, k *walk) *left {
	nd := &w.nodes[n]
	for j := range nd.left {
		l := &nd.left[j]
		if l.on && l.seen&i.msg == 0 && (k.breaks(allSentOn) || k.takes(l.session(), i)) {
			return l
		}
	}
	return nil
}

func (k *walk) takes(s Session[owner], i *item) bool {
	it := i.rule()
	if k.breaks(anySender) {
		it.Sender = s.From
	}
	return s.Takes(it)
}

// deliver gives an item to what is here of the device.
func (k *walk) deliver(w *world, n int, i item) {
	nd := &w.nodes[n]
	if nd.role > claiming && k.takes(nd.session(), &i) {
		k.write(w, n, i)
		return
	}
	if l := w.receiver(n, &i, k); l != nil {
		i.sender = own(n)
		k.take(w, n, i, l.to)
		return
	}
	k.finish(w, n, i.order)
}

// take takes an item into the hand, to be sent on.
func (k *walk) take(w *world, n int, i item, to owner) {
	nd := &w.nodes[n]
	nd.hand, nd.handTo, nd.handOf = i, to, i.order
	nd.hand.kind = addressed
}

// write writes an item that the session takes.
func (k *walk) write(w *world, n int, i item) {
	nd := &w.nodes[n]
	if nd.from != 0 && nd.seen&i.msg != 0 && !k.breaks(noSeen) {
		k.finish(w, n, i.order)
		return
	}
	if !k.allowed(w, n) {
		to := w.r.fence.Owner
		k.lose(nd, to, 0)
		if k.breaks(noRedirect) {
			k.finish(w, n, i.order)
			return
		}
		i.sender = own(n)
		k.take(w, n, i, to)
		return
	}
	if nd.role == live {
		w.r.since = nd.since
	}
	w.twice |= i.msg & (w.r.queue | w.had)
	w.r.queue |= i.msg
	nd.queue |= i.msg
	nd.seen |= i.msg
	if w.phase == 1 {
		nd.fresh |= i.msg
	}
	if i.order != 0 {
		w.r.place = i.order
	}
	k.finish(w, n, i.order)
}

// forward sends an addressed item to the device's owner, from a node that knows nothing of the device.
func (k *walk) forward(w *world, n int, i item) {
	if to := w.r.fence.Owner; to != own(n) {
		k.do("ask for the owner", n, w, func(w *world, _ *node) { k.take(w, n, i, to) })
	}
}

// sendOn sends what is in hand.
func (k *walk) sendOn(w *world, n int) {
	nd := &w.nodes[n]
	to := nd.handTo
	switch {
	case to == own(n):
		if nd.role > claiming && !k.fellBack(w, n) {
			k.do("take what it would send to itself", n, w, func(w *world, nd *node) {
				i := nd.hand
				i.order, nd.hand = nd.handOf, item{}
				k.deliver(w, n, i)
			})
		}
		if w.r.fence.Owner == to {
			return
		}
		fallthrough
	case w.r.in[to-1].gone:
		if w.r.fence.Owner != to {
			k.do("ask for the owner again", n, w, func(w *world, nd *node) {
				nd.handTo = w.r.fence.Owner
			})
		}
	default:
		k.do("send on", n, w, func(w *world, nd *node) {
			i, of := nd.hand, nd.handOf
			nd.hand, nd.handTo, nd.handOf = item{}, 0, 0
			i.by = own(n)
			w.send(int(to)-1, i)
			k.finish(w, n, of)
		})
	}
}

// notice is what a node does when it hears that another one has the device.
func (k *walk) notice(nd *node, i item) {
	if nd.role > claiming && nd.epoch < uint64(i.epoch) {
		k.lose(nd, i.sender, i.at)
		return
	}
	for j := range nd.left {
		if l := &nd.left[j]; l.on && (l.until == 0 || l.by == i.sender && l.until < i.at) {
			l.until, l.by = i.at, i.sender
		}
	}
}

// faults are deaths, pauses longer than the lease, and what the adopter does about them.
func (k *walk) faults(w *world) {
	z := k.victim
	if w.deaths > 0 {
		k.do(fmt.Sprintf("%d dies", z), z, w, func(w *world, nd *node) {
			w.deaths--
			w.did = nd.did
			*nd = node{}
		})
	}
	if w.r.dead&bit(z) == 0 {
		if !w.nodes[z].alive || w.pauses > 0 {
			w := *w
			if w.nodes[z].alive {
				w.did = w.nodes[z].did
			}
			for j := range w.r.in[z].n + 1 { // it has trimmed any part of what it has processed
				if j > 0 && w.did&(1<<w.r.in[z].items[j-1].order) == 0 {
					break
				}
				k.do(fmt.Sprintf("declare %d dead, %d trimmed", z, j), z, &w, func(w *world, _ *node) {
					if j > 0 {
						w.trim(z, 1<<(w.r.in[z].items[j-1].order+1)-1)
					}
					w.r.dead |= bit(z)
					w.pauses, w.did = 0, 0
				})
			}
		}
		return
	}
	if w.nodes[z].alive && !w.nodes[z].woke {
		k.do(fmt.Sprintf("%d hears that it is dead", z), z, w, func(w *world, nd *node) {
			*nd = node{alive: true, woke: true}
		})
	}
	if k.breaks(noAdoption) {
		return
	}
	n := k.adopter
	nd := &w.nodes[n]
	if w.r.fence.Owner == own(z) {
		if (nd.role == none || nd.role == live) && !k.underway(w) {
			k.do("adopt", n, w, func(w *world, nd *node) {
				if f, ok := w.r.fence.ClaimFrom(own(n), own(z), uint64(w.tick())); ok {
					k.claim(w, n, own(z), f)
				}
			})
		}
		if !k.breaks(drainFirst) {
			return
		}
	}
	for y := range w.nodes {
		if y := &w.nodes[y]; y.role >= claiming && y.role < live && y.from == own(z) && !k.breaks(removeEarly|drainFirst) {
			return
		}
	}
	in := &w.r.in[z]
	switch {
	case w.r.wanted()&bit(z) != 0 && !k.breaks(drainFirst):
		k.do("remove the dead node's interest", n, w, func(w *world, _ *node) { w.add(z, true) })
	case in.n > 0 && !in.deaf:
		k.do("drain the dead node's inbox", n, w, func(w *world, _ *node) {
			i := w.r.in[z].items[0]
			w.trim(z, 1<<i.order)
			switch {
			case i.kind == matched && i.dead == 0:
				k.mark(w, i, own(z), i.order)
			case i.kind == addressed:
				i.dead, i.place = own(z), i.order
				w.send(int(w.r.fence.Owner)-1, i)
			}
		})
	case !in.gone:
		k.do("delete the dead node's inbox", n, w, func(w *world, _ *node) { w.r.in[z].gone, w.r.in[z].deaf = true, k.breaks(inboxStays) })
	}
}
