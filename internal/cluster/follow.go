package cluster

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/topic"
)

// follower is what the other nodes want, as far as the log is read. Its goroutine (followLog) puts that into the router.
type follower struct {
	position atomic.Uint64
	lost     atomic.Bool // Redis may have lost a part of the log

	// moved is told whenever position has moved.
	mu    sync.Mutex
	moved chan struct{} // closed then, and made again

	// Owned by the follower's goroutine, and by Start before it.
	read  string                         // ID of the last entry that was read; behind position if it was skipped
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

// awaitPosition waits until the log is read up to at, for a time at most, and reports whether it is.
func (n *Node) awaitPosition(ctx context.Context, at uint64, longest time.Duration) bool {
	late := time.NewTimer(longest)
	defer late.Stop()
	for {
		n.log_.mu.Lock()
		moved := n.log_.moved
		n.log_.mu.Unlock()
		if n.Position() >= at {
			return true
		}
		select {
		case <-moved:
		case <-late.C:
			return false
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
		read := n.client.B().Xread().Count(logEntries).Block(logBlock.Milliseconds()).Streams().Key(key).Id(n.log_.read).Build()
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
	end, err := n.logEnd(ctx)
	if err == nil && end < n.Position() {
		err = errGap
	}
	return err
}

// logEnd returns the position at which the log ends.
func (n *Node) logEnd(ctx context.Context) (uint64, error) {
	text, err := n.client.Do(ctx, n.client.B().Get().Key(n.keys.interest()[2]).Build()).ToString()
	if err != nil && !isNil(err) {
		return 0, err
	}
	return parse(text), nil
}

// apply puts entries of the log into the router.
func (n *Node) apply(entries []rueidis.XRangeSlice) error {
	x := &n.interest
	x.turn.Lock()
	defer x.turn.Unlock()
	for _, raw := range entries {
		n.log_.read = raw.ID
		e, err := readLogEntry(&raw)
		if err != nil { // what it said is not known: all is read again behind the others
			n.noteBad("an entry of the log of who wants what is not what it should be", err)
			n.log_.lost.Store(true)
			continue
		}
		if e.before != n.Position() {
			return errGap
		}
		n.applyEntry(&e)
		n.log_.moveTo(e.at)
	}
	go n.tellKnown() // which calls others
	return nil
}

// logEntry is an entry of the log.
type logEntry struct {
	at, before uint64 // its position, and that of the entry before it
	owner      string
	changes    []rueidis.XRangeFieldValue
}

func readLogEntry(raw *rueidis.XRangeSlice) (e logEntry, err error) {
	fields := raw.FieldValues
	id, ok := strings.CutSuffix(raw.ID, "-0")
	if !ok || len(fields) < 2 || fields[0].Field != "p" || fields[1].Field != "o" || !validOwner(fields[1].Value) {
		return e, fmt.Errorf("entry %q is none that this program knows", raw.ID)
	}
	if e.at, err = strconv.ParseUint(id, 10, 64); err == nil {
		e.before, err = strconv.ParseUint(fields[0].Value, 10, 64)
	}
	if err == nil && e.before >= e.at {
		err = fmt.Errorf("entry %q is before the one before it", raw.ID)
	}
	e.owner, e.changes = fields[1].Value, fields[2:]
	return e, err
}

// applyEntry puts one entry into the router.
func (n *Node) applyEntry(e *logEntry) {
	for _, f := range e.changes {
		switch f.Field {
		case "+":
			n.want(e.owner, f.Value)
		case "-":
			n.wantNot(e.owner, f.Value)
		case "!":
			n.forget(e.owner)
		case ".":
			n.adoptionDone(e.owner)
		}
	}
}

// checkFilter returns what is wrong with a filter that a node has announced.
func checkFilter(filter string) error {
	_, rest, _, err := topic.Shared(filter)
	if err == nil {
		err = topic.ValidateFilter(rest, topic.Limits{Depth: math.MaxUint16, Length: math.MaxUint16})
	}
	return err
}

// want notes that an owner wants a filter.
func (n *Node) want(o, filter string) {
	if o == n.owner {
		return
	}
	if err := checkFilter(filter); err != nil {
		n.noteBad("a filter of another node is not what it should be", err)
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
	at, err := n.logEnd(ctx)
	if err != nil {
		return err
	}
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
			if !validOwner(o) {
				n.noteBad("what is announced names no owner", fmt.Errorf("field %q", page.Elements[i]))
				continue
			}
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
	if skipped, _, _ := strings.Cut(n.log_.read, "-"); parse(skipped) <= at {
		n.log_.read = positionID(at)
	}
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
