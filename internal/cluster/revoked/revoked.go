// Package revoked keeps revocations in Redis, so that all nodes of a cluster know them: also those that were away when they were made, and those
// that join later.
//
// PREFIX{revoked} is a sorted set of devices and credentials by the Unix milliseconds until which they are refused; one that was lifted before that stays
// in it, as lifted. PREFIX{revoked}:v is a number that changes with it: each node looks at the number once in a while, and at the set when the
// number is another one. A node that knows of a revocation that the set has lost, because Redis lost its last writes, adds it again.
package revoked

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/longline/longline/internal/auth"
)

const (
	lookEvery = 5 * time.Second
	lookTime  = 5 * time.Second // how long a look may take
	pageSize  = 1000            // revocations that are read at a time
	mostPages = 1000
)

// Table is the set in Redis. Its methods block until ctx ends.
type Table interface {
	// Version returns the number that changes with the set.
	Version(ctx context.Context) (uint64, error)
	// Page returns up to limit revocations from a position on; those that are over may be among them.
	Page(ctx context.Context, from, limit int) ([]Entry, error)
	// Set adds or replaces a revocation, or lifts it if its time is over.
	Set(ctx context.Context, b auth.Bearer, until time.Time) error
}

// Entry is a revocation.
type Entry struct {
	auth.Bearer
	Until  time.Time
	Lifted bool
}

// List is this node's view of the set. Its methods are safe from any goroutine.
type List struct {
	table Table
	apply func(b auth.Bearer, until time.Time) error
	log   *slog.Logger
	ended context.Context
	end   context.CancelFunc
	done  chan struct{}

	// Owned by run, after Start.
	version uint64
	read    bool // the set was read once
	failing bool // it cannot be read now

	// Guarded by mu.
	mu      sync.Mutex
	applied map[auth.Bearer]time.Time
}

// Start reads the set, and reads it again when it changes. It calls apply for each revocation that is new, and with a time that has passed for each that is lifted: one
// call at a time. Start returns when the set was read once, or cannot be read: then it is read when that is possible.
func Start(ctx context.Context, t Table, apply func(b auth.Bearer, until time.Time) error, log *slog.Logger) *List {
	l := &List{table: t, apply: apply, log: log, done: make(chan struct{}), applied: make(map[auth.Bearer]time.Time)}
	l.ended, l.end = context.WithCancel(context.Background())
	err := l.look(ctx)
	l.tell(err)
	go l.run()
	return l
}

// Close stops reading the set.
func (l *List) Close() {
	l.end()
	<-l.done
}

// Keep makes a revocation, which the caller has applied here, known to all nodes; a time that has passed lifts one. It blocks until ctx ends.
func (l *List) Keep(ctx context.Context, b auth.Bearer, until time.Time) error {
	if err := l.table.Set(ctx, b, until); err != nil {
		return err
	}
	l.note(b, until)
	return nil
}

// note remembers what was applied here.
func (l *List) note(b auth.Bearer, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until.After(time.Now()) {
		l.applied[b] = until
	} else {
		delete(l.applied, b)
	}
}

func (l *List) run() {
	defer close(l.done)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.ended.Done():
			return
		case <-tick.C:
			l.tell(l.look(l.ended))
		}
	}
}

// tell logs that the set cannot be read, once until it can.
func (l *List) tell(err error) {
	if err != nil && !l.failing && l.ended.Err() == nil {
		l.log.Warn("revocations of the cluster cannot be read: those that are known hold", "error", err)
	}
	l.failing = err != nil
}

// look reads the set if it has changed.
func (l *List) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	version, err := l.table.Version(ctx)
	if err != nil || l.read && version == l.version {
		return err
	}
	all := make(map[auth.Bearer]Entry)
	for page := 0; ; page++ {
		entries, err := l.table.Page(ctx, page*pageSize, pageSize)
		switch {
		case err != nil:
			return err
		case page == mostPages:
			return errors.New("there are too many")
		}
		for _, e := range entries {
			if all[e.Bearer].Lifted { // in two pages, between which it was replaced: the next look sees what holds
				continue
			}
			all[e.Bearer] = e
		}
		if len(entries) < pageSize {
			break
		}
	}
	if err := l.take(ctx, all); err != nil {
		return err
	}
	l.version, l.read = version, true
	return nil
}

// take applies what is different from what was applied, and adds again what the set has lost.
func (l *List) take(ctx context.Context, all map[auth.Bearer]Entry) (err error) {
	l.mu.Lock()
	applied := maps.Clone(l.applied)
	l.mu.Unlock()
	now := time.Now()
	for b, e := range all {
		before, known := applied[b]
		until := e.Until
		switch {
		case e.Lifted && !known, !e.Lifted && known && before.Equal(until), !e.Lifted && !until.After(now), b == auth.Bearer{}:
			continue
		case e.Lifted:
			until = time.Time{}
		}
		if failed := l.apply(b, until); failed != nil {
			err = failed
			continue
		}
		l.note(b, until)
	}
	for b, until := range applied {
		switch _, there := all[b]; {
		case !until.After(now):
			l.note(b, until)
		case !there:
			err = errors.Join(err, l.table.Set(ctx, b, until))
		}
	}
	return err
}
