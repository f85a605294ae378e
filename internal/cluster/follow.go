package cluster

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// follower is what the other nodes want, as far as the log is read. Its goroutine (followLog) puts that into the router.
type follower struct {
	position atomic.Uint64
	lost     atomic.Bool // Redis may have lost a part of the log

	// moved is told whenever position has moved.
	mu    sync.Mutex
	moved chan struct{} // closed then, and made again

	// Owned by the follower's goroutine, and by Start before it.
	wants map[string]map[string]struct{} // by owner
}

func (l *follower) init() {
	l.moved = make(chan struct{})
	l.wants = make(map[string]map[string]struct{})
}

// Position implements router.Far.
func (n *Node) Position() uint64 { return n.log_.position.Load() }

// moveTo moves the position. interest.turn is held.
func (l *follower) moveTo(at uint64) {
	l.position.Store(at)
	l.mu.Lock()
	close(l.moved)
	l.moved = make(chan struct{})
	l.mu.Unlock()
}

// awaitPosition waits until the log is read up to at, and reports whether it is.
func (n *Node) awaitPosition(ctx context.Context, at uint64) bool {
	for {
		n.log_.mu.Lock()
		moved := n.log_.moved
		n.log_.mu.Unlock()
		if n.Position() >= at {
			return true
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		}
	}
}

// How many entries of the log are read at a time, and how long Redis waits for one.
const (
	logEntries = 256
	logBlock   = 2 * time.Second
)

// followLog reads the log until ctx ends.
func (n *Node) followLog(ctx context.Context) {
	key := n.keys.interest()[0]
	for ctx.Err() == nil {
		if n.log_.lost.Swap(false) {
			if err := n.snapshot(ctx); err != nil {
				n.noteTrouble("who wants what could not be read", err)
				n.refuseOldWaits()
				n.log_.lost.Store(true)
				sleep(ctx, retryAfter)
				continue
			}
		}
		read := n.client.B().Xread().Count(logEntries).Block(logBlock.Milliseconds()).Streams().Key(key).Id(positionID(n.Position())).Build()
		n.counts.commands.Add(1)
		streams, err := n.client.Do(ctx, read).AsXReadSlices()
		switch {
		case isNil(err): // nothing came
			err = n.checkEnd(ctx)
		case err == nil:
			err = n.apply(streams[key])
		}
		if err != nil && ctx.Err() == nil {
			n.noteTrouble("the log of who wants what could not be followed", err)
			n.refuseOldWaits()
			if !sleep(ctx, retryAfter) {
				return
			}
			n.log_.lost.Store(true)
		}
	}
}

// positionID is the ID of the log's entry at a position.
func positionID(at uint64) string { return strconv.FormatUint(at, 10) + "-0" }

// errGap says that the log does not go on where it was read last: Redis has lost a part of it, or removed one that was not read.
var errGap = fmt.Errorf("the log has a gap")

// checkEnd returns an error if the log ends before the position: Redis has lost what was behind.
func (n *Node) checkEnd(ctx context.Context) error {
	text, err := n.client.Do(ctx, n.client.B().Get().Key(n.keys.interest()[2]).Build()).ToString()
	if err != nil && !isNil(err) {
		return err
	}
	if parse(text) < n.Position() {
		return errGap
	}
	return nil
}

// apply puts entries of the log into the router.
func (n *Node) apply(entries []rueidis.XRangeSlice) error {
	x := &n.interest
	x.turn.Lock()
	defer x.turn.Unlock()
	for _, e := range entries {
		at := parse(strings.TrimSuffix(e.ID, "-0"))
		if err := n.applyEntry(at, e.FieldValues); err != nil {
			return err
		}
		n.log_.moveTo(at)
	}
	go n.tellKnown() // which calls others
	return nil
}

// applyEntry puts one entry into the router.
func (n *Node) applyEntry(at uint64, fields []rueidis.XRangeFieldValue) error {
	if len(fields) < 2 || fields[0].Field != "p" || fields[1].Field != "o" {
		return fmt.Errorf("entry %d of the log is none that this program knows", at)
	}
	if parse(fields[0].Value) != n.Position() {
		return errGap
	}
	o := fields[1].Value
	for _, f := range fields[2:] {
		switch f.Field {
		case "+":
			n.want(o, f.Value)
		case "-":
			n.wantNot(o, f.Value)
		case "!":
			n.forget(o)
		case ".":
			n.adoptionDone(o)
		}
	}
	return nil
}

// want notes that an owner wants a filter.
func (n *Node) want(o, filter string) {
	if o == n.owner {
		return
	}
	filters := n.log_.wants[o]
	if filters == nil {
		filters = make(map[string]struct{})
		n.log_.wants[o] = filters
	}
	if _, ok := filters[filter]; !ok {
		filters[filter] = struct{}{}
		n.router.SubscribeFar(filter, n.peers.get(n, o))
	}
}

func (n *Node) wantNot(o, filter string) {
	filters := n.log_.wants[o]
	if _, ok := filters[filter]; ok {
		delete(filters, filter)
		n.router.UnsubscribeFar(filter, n.peers.get(n, o))
	}
}

// forget removes what an owner wants, because it is gone.
func (n *Node) forget(o string) {
	for f := range n.log_.wants[o] {
		n.wantNot(o, f)
	}
	delete(n.log_.wants, o)
}

// snapshot reads what all nodes want, and goes on with the log behind it. What is announced meanwhile is read twice, which changes nothing.
func (n *Node) snapshot(ctx context.Context) error {
	keys := n.keys.interest()
	text, err := n.client.Do(ctx, n.client.B().Get().Key(keys[2]).Build()).ToString()
	if err != nil && !isNil(err) {
		return err
	}
	at := parse(text)
	if at < n.Position() { // Redis has lost the end of the log: what comes next must be behind what was sent at these positions
		if at, err = n.raise(ctx); err != nil {
			return err
		}
	}
	all := make(map[string]map[string]struct{})
	for cursor := uint64(0); ; {
		page, err := n.client.Do(ctx, n.client.B().Hscan().Key(keys[1]).Cursor(cursor).Count(1000).Build()).AsScanEntry()
		if err != nil {
			return err
		}
		for i := 0; i+1 < len(page.Elements); i += 2 {
			o, filter, _ := strings.Cut(page.Elements[i], "\x00")
			if all[o] == nil {
				all[o] = make(map[string]struct{})
			}
			all[o][filter] = struct{}{}
		}
		if cursor = page.Cursor; cursor == 0 {
			break
		}
	}
	n.interest.turn.Lock()
	for o, filters := range n.log_.wants {
		for f := range filters {
			if _, ok := all[o][f]; !ok {
				n.wantNot(o, f)
			}
		}
	}
	for o, filters := range all {
		for f := range filters {
			n.want(o, f)
		}
	}
	n.log_.moveTo(at)
	n.interest.turn.Unlock()
	n.announceAgain(all[n.owner])
	go n.tellKnown()
	return nil
}

// raise writes an entry of the log that is behind all that this node has read, and returns its position.
func (n *Node) raise(ctx context.Context) (uint64, error) {
	args := []string{n.owner, strconv.FormatUint(n.Position(), 10), strconv.Itoa(n.logBytes), "0"}
	text, err := announce.Exec(ctx, n.client, n.keys.interest(), args).ToString()
	if err == nil && text == "0" {
		err = errDead
	}
	return parse(text), err
}
