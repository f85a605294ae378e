package claim

// has reports whether the log has the entry at a position.
func (r *redis) has(at uint8) bool {
	for _, e := range r.log[:r.n] {
		if e.at == at {
			return true
		}
	}
	return false
}

// failovers sets Redis back to what its replica has, and has the nodes notice, each part for itself.
func (k *walk) failovers(w *world) {
	switch w.phase {
	case 0:
		k.do("the replica stops", 0, w, func(w *world, _ *node) { w.phase, w.snap, w.stopped = 1, w.r, w.places })
	case 1:
		k.do("failover", 0, w, func(w *world, _ *node) {
			w.phase = 2
			k.fallBack(w)
			w.snap = redis{}
		})
	}
	if w.phase < 2 || k.breaks(noReplay) {
		return
	}
	for n := range nodes {
		for _, p := range []part{theDevice, theLog, theInboxes} {
			if k.failover&p == 0 || !k.concerned(w, n, p) || w.noticed[n]&p != 0 || w.nodes[n].role == claiming || w.nodes[n].hand.kind != 0 {
				continue
			}
			k.do("notice", n, w, func(w *world, _ *node) {
				w.noticed[n] |= p
				switch p {
				case theDevice:
					k.writeAgain(w, n)
				case theLog:
					k.announceAgain(w, n)
				case theInboxes:
					k.sendAgain(w, n)
				}
			})
		}
	}
}

// concerned reports whether a node has anything to do about a part that fell back.
func (k *walk) concerned(w *world, n int, p part) bool {
	nd := &w.nodes[n]
	switch p {
	case theDevice:
		return nd.fresh != 0 || nd.role > claiming && (w.r.fence != Fence[owner]{nd.epoch, own(n)} || nd.queue != w.r.queue || nd.done&^w.r.done != 0)
	case theLog:
		return nd.role >= announced && nd.from != 0 && !w.r.has(nd.since) || w.r.n > 0 && nd.at > w.r.log[w.r.n-1].at
	}
	for _, l := range w.lost {
		if l.by == own(n) {
			return true
		}
	}
	return false
}

func (k *walk) fallBack(w *world) {
	now := w.r
	if k.failover&theDevice != 0 {
		w.r.fence, w.r.queue, w.r.done, w.r.place, w.r.since = w.snap.fence, w.snap.queue, w.snap.done, w.snap.place, w.snap.since
	}
	if k.failover&theLog != 0 {
		w.r.wants, w.r.log, w.r.n = w.snap.wants, w.snap.log, w.snap.n
	}
	if k.failover&theInboxes == 0 {
		return
	}
	lost := 0
	for n := range nodes {
		w.r.in[n] = w.snap.in[n]
		for _, i := range now.in[n].items[:now.in[n].n] {
			if i.order > w.stopped[n] {
				if lost == len(w.lost) {
					w.full = true
					return
				}
				w.lost[lost] = lostItem{i, uint8(n), i.by}
				lost++
			}
		}
	}
}

// writeAgain is what a node does for the device: it claims again what it had, and writes again what it was told is safe.
func (k *walk) writeAgain(w *world, n int) {
	nd := &w.nodes[n]
	fresh := nd.fresh
	nd.fresh = 0
	if nd.role == none {
		k.redirectAgain(w, n, fresh, w.r.fence.Owner)
		return
	}
	f, ok := w.r.fence.Reclaim(Fence[owner]{nd.epoch, own(n)}, nd.before, uint64(w.tick()))
	if !ok {
		fresh &= nd.queue
		k.lose(nd, w.r.fence.Owner, 0)
		k.redirectAgain(w, n, fresh, w.r.fence.Owner)
		return
	}
	w.r.fence, nd.epoch = f, f.Epoch
	w.r.queue = (w.r.queue | nd.queue) &^ (nd.done | nd.known&^nd.queue)
	w.r.done |= nd.done
	nd.queue = w.r.queue
	nd.seen |= w.r.queue
}

func (k *walk) redirectAgain(w *world, n int, fresh uint8, to owner) {
	for m := range w.at {
		if fresh&bit(m) != 0 && to != own(n) {
			k.take(w, n, item{kind: addressed, msg: bit(m), at: w.at[m], sender: own(n), order: never}, to)
		}
	}
}

// announceAgain announces again what the log has lost.
func (k *walk) announceAgain(w *world, n int) {
	nd := &w.nodes[n]
	if nd.role < announced || nd.from == 0 || w.r.has(nd.since) {
		w.add(nodes, false) // others may have what this node published at its position
		return
	}
	nd.again, nd.told = w.add(n, false), false
	if nd.role == announced {
		nd.role = live
	}
}

// sendAgain sends again what the inboxes have lost.
func (k *walk) sendAgain(w *world, n int) {
	for j := range w.lost {
		l := &w.lost[j]
		if l.by != own(n) {
			continue
		}
		in := &w.r.in[l.to]
		if w.processed(int(l.to), l.item.order) || k.breaks(highestOnly) && w.nodes[l.to].did > 1<<l.item.order {
			*l = lostItem{}
			continue
		}
		if in.n == maxItems {
			w.full = true
			return
		}
		in.items[in.n] = l.item
		in.n++
		*l = lostItem{}
	}
}

// replayed returns the lowest At of what a node may have to send again.
func (w *world) replayed(n int) uint64 {
	at := uint64(Unsettled)
	for j := range w.r.in {
		in := &w.r.in[j]
		for _, i := range in.items[:in.n] {
			if i.by == own(n) && i.kind != taken && i.order > w.stopped[j] && w.phase == 1 {
				at = min(at, uint64(i.at))
			}
		}
	}
	for _, l := range w.lost {
		if l.by == own(n) && l.item.kind != taken {
			at = min(at, uint64(l.item.at))
		}
	}
	return at
}
