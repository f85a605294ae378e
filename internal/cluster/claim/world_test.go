package claim

// The world of the walk: Redis, three nodes, one device with a subscription. Values are small, so that states can be compared and kept.
// Node 0 has the device at the start, and its filter is announced, which all nodes have read.

const (
	nodes    = 3
	maxItems = 6
	maxLog   = 6
)

// owner is a node + 1; 0 is nobody.
type owner = uint8

func own(n int) owner { return owner(n + 1) }

type kind uint8

const (
	matched   kind = iota + 1 // a filter of the node matched
	addressed                 // sent on to the device
	taken                     // notice: the sender has the device, at is its Since
)

// item is one in an inbox. It is a batch of its own.
type item struct {
	kind   kind
	msg    uint8 // bit of the message
	at     uint8
	sender owner
	order  uint8 // place in the inbox in which it is
	dead   owner // taken out of this owner's inbox
	place  uint8 // in that inbox, never if it was not there
	epoch  uint8 // of a notice
	by     owner // who put it into the inbox
}

// never is a number above all others.
const never = 255

type inbox struct {
	items [maxItems]item
	n     uint8
	gone  bool
	deaf  bool // nobody drains it any more
}

type entry struct {
	at     uint8
	node   uint8
	remove bool
}

// redis is all that a failover may set back.
type redis struct {
	fence Fence[owner]
	queue uint8 // messages queued for the device
	done  uint8 // messages that the device had
	place uint8 // place in the owner's inbox of the newest item written
	since uint8 // of the owner, never if it has not written since it had one
	wants uint8 // nodes that want the filter, before the log
	log   [maxLog]entry
	n     uint8 // entries
	in    [nodes]inbox
	dead  uint8 // bits of nodes that were declared dead
}

type role uint8

const (
	none      role = iota
	claiming       // Redis has the claim, its answer is on its way
	restored       // the session is in the index
	announced      // Redis has the announcement, its answer is on its way
	live
)

// left is what is left of a session that moved on: it sends on.
type left struct {
	on    bool
	since uint8
	from  owner
	place uint8
	limit uint8
	seen  uint8
	to    owner
	until uint8 // the new owner's Since; 0 while unknown
	by    owner // who told it
}

type node struct {
	alive bool
	woke  bool  // knows that it was declared dead
	at    uint8 // position of its reader of the log
	wants uint8 // bits of nodes that want the filter, as far as it has read

	role  role
	epoch uint64
	since uint8
	from  owner
	place uint8
	limit uint8 // from's Since
	queue uint8
	seen  uint8 // messages taken since the claim
	told  bool  // has sent the notice
	again uint8

	before Fence[owner] // what its claim found
	done   uint8        // messages that the device had from here
	known  uint8        // messages that Redis had of the device at the claim, also those that it had removed
	fresh  uint8        // messages written here since the replica stopped
	left   [2]left

	did    uint16 // bits of the places in its inbox that are processed
	near   item   // published here, for what is here
	hand   item   // to be sent on to handTo; then the item it came from is processed
	handTo owner
	handOf uint8 // place of that item, never for near

	out   uint8 // bits of nodes whose inboxes do not have outOf yet
	outOf item
}

type world struct {
	r     redis
	nodes [nodes]node

	// These never go back.
	clock  uint8
	places [nodes]uint8 // last place in each inbox
	twice  uint8        // messages queued again
	had    uint8        // messages that the device had
	asked  uint8        // messages published
	acked  uint8        // bits of those whose publisher was told
	next   uint8        // connections that have come
	full   bool         // there was no room for an item or an entry
	deaths uint8
	pauses uint8
	did    uint16 // what a dead node had processed of its inbox

	forgetful bool         // the log keeps all entries
	stopped   [nodes]uint8 // last places in the inboxes then
	snap      redis        // what the replica has
	phase     uint8        // of a failover: 1 the replica has stopped, 2 it is the primary
	noticed   [nodes]part
	lost      [4]lostItem
	at        [2]uint8 // positions of the messages
}

// part of Redis that a failover sets back.
type part uint8

const (
	theDevice part = 1 << iota
	theLog
	theInboxes
)

// lostItem is an item that a failover lost.
type lostItem struct {
	item item
	to   uint8
	by   owner
}

func bit(n int) uint8 { return 1 << n }

// wide makes never Unsettled.
func wide(n uint8) uint64 {
	if n == never {
		return Unsettled
	}
	return uint64(n)
}

func (i *item) rule() Item[owner] {
	return Item[owner]{At: wide(i.at), Addressed: i.kind == addressed, Sender: i.sender, Dead: i.dead, Place: wide(i.place)}
}

func (n *node) session() Session[owner] {
	s := Session[owner]{Since: wide(n.since), From: n.from, Place: wide(n.place), Until: wide(n.limit), Again: uint64(n.again)}
	if n.role != live {
		s.Since = Unsettled
	}
	return s
}

func (l *left) session() Session[owner] {
	return Session[owner]{Since: wide(l.since), From: l.from, Place: wide(l.place), Until: wide(l.limit)}
}

func (w *world) processed(n int, order uint8) bool { return w.nodes[n].did&(1<<order) != 0 }
