package cluster

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/longline/longline/internal/session"
)

// Bounds of one announcement.
const (
	announceFilters = 500
	announceBytes   = 256 << 10
	logBytes        = 64 << 20 // of the log; who has not read what goes reads all again
)

// interest is what this node wants, as far as it is announced. The goroutine announcements writes what has changed; the router has the truth.
type interest struct {
	wake chan struct{} // has room for one

	// turn is held from an announcement until the sessions that wait for its position know it, and by the follower of the log while it moves on: so this node never
	// knows a position before these sessions do. It is taken before the locks of sessions.
	turn sync.Mutex

	// Guarded by mu, under which nothing else is locked.
	mu       sync.Mutex
	dirty    map[string]struct{} // filters that may be news
	changed  uint64              // counts calls of Changed
	looked   uint64              // the changes up to here are announced, or being announced
	at       uint64              // the position of the last entry
	written  []mark              // changes that are in the log, which this node has not read up to there
	known    uint64              // the changes up to here are in the log as far as this node has read it
	waits    []announceWait
	arrivals []arrival
	settling []arrival // those that are being announced

	// Owned by the announcer, and by the snapshot while the announcer holds still.
	announced map[string]struct{}
}

// mark says that all changes up to one are in the log at a position.
type mark struct{ changed, at uint64 }

// announceWait is who waits until all changes up to one are known.
type announceWait struct {
	changed uint64
	since   time.Time
	f       func(error)
}

// arrival is a session that has come from another node.
type arrival struct {
	device string
	claim  session.Claim
}

func (x *interest) init() {
	x.wake = make(chan struct{}, 1)
	x.dirty, x.announced = make(map[string]struct{}), make(map[string]struct{})
}

// arriving returns the owners from which sessions have come that are not announced yet, up to a few.
func (x *interest) arriving() (owners []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, list := range [][]arrival{x.arrivals, x.settling} {
		for _, a := range list {
			if len(owners) < 64 && !slices.Contains(owners, a.claim.From) {
				owners = append(owners, a.claim.From)
			}
		}
	}
	return owners
}

func (x *interest) wakeUp() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// Changed implements router.Far. filter may be a view of a packet.
func (n *Node) Changed(filter string) {
	x := &n.interest
	x.mu.Lock()
	if _, ok := x.dirty[filter]; !ok {
		x.dirty[strings.Clone(filter)] = struct{}{}
	}
	x.changed++
	x.mu.Unlock()
	x.wakeUp()
}

// WhenAnnounced implements router.Far.
func (n *Node) WhenAnnounced(f func(error)) {
	x := &n.interest
	x.mu.Lock()
	if x.known == x.changed {
		x.mu.Unlock()
		f(nil)
		return
	}
	x.waits = append(x.waits, announceWait{x.changed, time.Now(), f})
	x.mu.Unlock()
}

// Moved implements session.Owners.
func (n *Node) Moved(device string, c session.Claim) {
	x := &n.interest
	x.mu.Lock()
	x.arrivals = append(x.arrivals, arrival{device, c})
	x.mu.Unlock()
	x.wakeUp()
}

// announcements writes what has changed, in turn, until ctx ends.
func (n *Node) announcements(ctx context.Context) {
	x := &n.interest
	for {
		select {
		case <-x.wake:
		case <-ctx.Done():
			n.tellWaits(^uint64(0), errClosed)
			return
		}
		for n.announceDirty(ctx) {
		}
	}
}

// announceDirty writes what has changed until now, and reports whether it did, so that there may be more.
func (n *Node) announceDirty(ctx context.Context) bool {
	x := &n.interest
	x.mu.Lock()
	dirty, changed, arrivals := x.dirty, x.changed, x.arrivals
	if len(dirty) == 0 && len(arrivals) == 0 && changed == x.looked {
		x.mu.Unlock()
		return false
	}
	x.dirty, x.arrivals, x.settling, x.looked = make(map[string]struct{}), nil, arrivals, changed
	x.mu.Unlock()

	var add, remove []string
	size := 0
	for f := range dirty {
		_, was := x.announced[f]
		switch wants := n.router.Wants(f); {
		case wants && !was:
			add = append(add, f)
		case !wants && was:
			remove = append(remove, f)
		default:
			continue
		}
		if size += len(f); len(add)+len(remove) >= announceFilters || size >= announceBytes {
			if !n.announce(ctx, add, remove, nil, 0) {
				return false
			}
			add, remove, size = nil, nil, 0
		}
	}
	return n.announce(ctx, add, remove, arrivals, changed)
}

// announce writes an entry of the log, again and again until Redis has it. Then it settles the sessions that have come, and their owners before are told. With changed, all changes
// up to it are written. An entry is written for sessions also if there is nothing new: what was sent before they came goes by their owners before.
func (n *Node) announce(ctx context.Context, add, remove []string, arrivals []arrival, changed uint64) bool {
	x := &n.interest
	for first := true; ; first = false {
		if !first && !sleep(ctx, retryAfter) {
			return false
		}
		x.turn.Lock()
		at, err := n.writeInterest(ctx, add, remove, len(arrivals) > 0)
		if err == nil {
			for _, a := range arrivals {
				n.sessions.Settle(a.device, a.claim.Epoch, at)
			}
			x.mu.Lock()
			x.at = max(x.at, at)
			if arrivals != nil {
				x.settling = nil
			}
			if changed > 0 {
				x.written = append(x.written, mark{changed, x.at})
			}
			x.mu.Unlock()
		}
		x.turn.Unlock()
		if err == nil {
			for _, a := range arrivals {
				n.counts.moved.Add(1)
				n.tellTaken(a, at)
			}
			n.tellKnown()
			return true
		}
		n.noteTrouble("what this node wants could not be announced", err)
		n.refuseOldWaits()
	}
}

// writeInterest writes one entry, if there is anything to write or always is set, and returns its position, or the last one.
func (n *Node) writeInterest(ctx context.Context, add, remove []string, always bool) (uint64, error) {
	x := &n.interest
	if len(add) == 0 && len(remove) == 0 && !always {
		return 0, nil
	}
	args := make([]string, 0, 4+len(add)+len(remove))
	args = append(args, n.owner, strconv.FormatUint(max(x.at, n.Position()), 10), strconv.Itoa(n.logBytes), strconv.Itoa(len(add)))
	args = append(append(args, add...), remove...)
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	n.counts.commands.Add(1)
	text, err := announce.Exec(ctx, n.client, n.keys.interest(), args).ToString()
	if err != nil {
		return 0, err
	}
	if text == "0" {
		return 0, errDead
	}
	n.counts.announced.Add(uint64(len(add) + len(remove)))
	for _, f := range add {
		x.announced[f] = struct{}{}
	}
	for _, f := range remove {
		delete(x.announced, f)
	}
	return parse(text), nil
}

// tellKnown tells those who wait that what they wait for is known here, once the log was read up to where it is written.
func (n *Node) tellKnown() {
	x := &n.interest
	position := n.Position()
	x.mu.Lock()
	i := 0
	for i < len(x.written) && x.written[i].at <= position {
		x.known = x.written[i].changed
		i++
	}
	x.written = x.written[i:]
	known := x.known
	x.mu.Unlock()
	n.tellWaits(known, nil)
}

// tellWaits tells those who wait for changes up to one.
func (n *Node) tellWaits(upTo uint64, err error) {
	n.endWaits(func(w *announceWait) bool { return w.changed <= upTo }, err)
}

// refuseOldWaits tells those who have waited longer than Redis may be away.
func (n *Node) refuseOldWaits() {
	n.endWaits(func(w *announceWait) bool { return time.Since(w.since) > n.patience }, errNodeAway)
}

// endWaits tells err to those, the oldest first, whose wait is over.
func (n *Node) endWaits(over func(*announceWait) bool, err error) {
	x := &n.interest
	x.mu.Lock()
	i := 0
	for i < len(x.waits) && over(&x.waits[i]) {
		i++
	}
	told := x.waits[:i:i]
	x.waits = x.waits[i:]
	x.mu.Unlock()
	for _, w := range told {
		w.f(err)
	}
}

// announceAgain makes the announcer look at all filters again: Redis may have lost some of what was announced. has is what Redis has.
func (n *Node) announceAgain(has map[string]struct{}) {
	x := &n.interest
	x.turn.Lock()
	defer x.turn.Unlock()
	var look []string
	for f := range x.announced {
		if _, ok := has[f]; !ok {
			delete(x.announced, f)
			look = append(look, f)
		}
	}
	for f := range has {
		if _, ok := x.announced[f]; !ok {
			x.announced[f] = struct{}{}
			look = append(look, f)
		}
	}
	if len(look) == 0 {
		return
	}
	x.mu.Lock()
	for _, f := range look {
		x.dirty[f] = struct{}{}
	}
	x.changed++
	x.mu.Unlock()
	x.wakeUp()
}
