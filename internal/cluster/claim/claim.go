// Package claim is the protocol by which the nodes of a cluster share devices, as pure functions: who may change a device, which copy of a
// message counts, when an old owner is done. The scripts in Redis and the code of the nodes do what these functions say; the package's test
// walks all interleavings of them.
package claim

// Numbers is how many nodes a cluster may have: a node's number is less.
const Numbers = 64

// Next returns the next of numbers that must rise: greater than last, not before now, Redis' clock in us, and ending on the node's number. So
// two nodes never make the same one, whatever a failover made Redis forget.
func Next(last, now uint64, number int) uint64 {
	n := max(last+1, now)
	return n + (uint64(number)+Numbers-n%Numbers)%Numbers
}

// Fence says who may change a device. Its zero value is that of a device without an owner. O is the name of an owner, a life of a node.
type Fence[O comparable] struct {
	Epoch uint64
	Owner O
}

// Allows reports whether a write of an owner at an epoch may change the device.
func (f Fence[O]) Allows(o O, epoch uint64) bool { return f == Fence[O]{epoch, o} }

// Claim makes o the owner at the epoch next, and returns who was it before. If o is the owner, and holds its epoch, nothing changes and
// nobody was; held is 0 if o has no memory of the device.
func (f Fence[O]) Claim(o O, held, next uint64) (after Fence[O], from O) {
	if f == (Fence[O]{held, o}) {
		return f, from
	}
	return Fence[O]{next, o}, f.Owner
}

// ClaimFrom is for an adopter, which takes only what the dead owner, old, still has. It reports whether o is the owner now.
func (f Fence[O]) ClaimFrom(o, old O, next uint64) (after Fence[O], ok bool) {
	if f.Owner != old && f.Owner != o {
		return f, false
	}
	return Fence[O]{next, o}, true
}

// Reclaim is for an owner that holds an epoch, held, of which Redis may have forgotten: before is what the fence was before the owner's
// claim. If Redis fell back to that, or has no owner any more, the owner gets a new epoch. Any other owner claimed after the fall: the
// device's newer connection is there.
func (f Fence[O]) Reclaim(held, before Fence[O], next uint64) (after Fence[O], ok bool) {
	var nobody O
	switch {
	case f == held:
		return f, true
	case f == before, f.Owner == nobody, f.Owner == held.Owner:
		return Fence[O]{next, held.Owner}, true
	}
	return f, false
}

// Unsettled is the Since of a session whose subscriptions are not announced yet.
const Unsettled = 1<<64 - 1

// Session is what decides which copies of a message a session takes.
type Session[O comparable] struct {
	Since uint64 // position of the announcement after its claim, Unsettled before, 0 if it has not moved
	From  O      // the owner before
	Place uint64 // place in From's inbox of the newest item that From wrote to the device
	Until uint64 // From's Since, Unsettled if From wrote nothing since it had one
	Again uint64 // position of an announcement made again, because a failover lost the first; 0 if none was
}

// Item is a message on its way to a session.
type Item[O comparable] struct {
	At        uint64 // how far the log of interests was read where it was published, before its receivers were looked for
	Addressed bool   // sent on to the device, not matched by a filter here
	Sender    O      // who sent it on
	Dead      O      // taken out of this dead owner's inbox
	Place     uint64 // place in that inbox; Unsettled if it was never there
}

// Takes reports whether the session takes the item. Of the copies for the old and for the new owner it takes one.
func (s Session[O]) Takes(i Item[O]) bool {
	var nobody O
	switch {
	case i.Dead != nobody && i.Dead == s.From:
		return i.Place > s.Place && i.At < s.Since && s.leftOver(i)
	case i.Addressed:
		// An owner before From has no part in what From got itself.
		return i.At == 0 || i.At < max(s.Since, s.Again) && (i.Sender == s.From || i.At < s.Until)
	}
	return i.Dead == nobody && i.At >= s.Since
}

// leftOver reports whether a dead owner would have taken an item of its inbox.
func (s Session[O]) leftOver(i Item[O]) bool {
	return s.Until == Unsettled || (i.At < s.Until) == i.Addressed
}

// Renewed returns the position that a node renews: it is done with all that has a lower At. undone is the lowest At of what it has published or
// sent on that is not in Redis yet, and of what is in its inbox.
func Renewed(position, undone uint64) uint64 { return min(position, undone) }
