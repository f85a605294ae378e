package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/longline/longline/internal/bridge"
	"github.com/longline/longline/internal/config"
	"github.com/longline/longline/internal/sink"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/source"
	"github.com/longline/longline/internal/store"
)

// sinksTime is how long the sinks have for what they have read when the node ends.
const sinksTime = 10 * time.Second

// openLoops gives the gateway an identity, by which messages that have left it are known when they come back. The store keeps it.
func (n *node) openLoops(context.Context) error {
	const key = "identity"
	saved, err := n.store.TakeValues(store.SpaceSelf)
	if err != nil {
		return fmt.Errorf("store.path: %w", err)
	}
	id := string(saved[key])
	if id == "" {
		id = "longline-" + rand.Text()[:16]
		n.store.Put(store.SpaceSelf, key, []byte(id))
	}
	n.loops = bridge.NewLoops(id)
	return nil
}

// openSinks starts to push messages of streams to systems behind.
func (n *node) openSinks(context.Context) error {
	saved, err := n.store.TakeValues(store.SpaceSink)
	if err != nil {
		return fmt.Errorf("sinks: %w", err)
	}
	n.sinks, err = sink.Open(n.config.Sinks, sink.Options{
		Node: uint16(n.config.Node.Number), Router: n.router, Streams: n.streams, Store: n.store, Saved: saved, Services: n.services, Models: n.models, Loops: n.loops, Log: n.log,
	})
	if err != nil {
		return fmt.Errorf("sinks.%w", err)
	}
	n.undo = append(n.undo, func() {
		within := sinksTime
		if n.cutShort.Load() {
			within = 0
		}
		n.sinks.Close(within)
	})
	return nil
}

// follower makes the sinks those of the configuration file when it changes.
type follower struct {
	// Static after construction.
	node  *node
	read  func() (config.Config, error)
	begun config.Config // with which the node runs
	fresh chan config.Config
	again chan struct{}
	stop  chan struct{}
	done  chan struct{}
}

// followConfig makes the node's sinks those of the configuration that read returns, whenever the file changes, until stop is called.
func (n *node) followConfig(file string, begun config.Config, read func() (config.Config, error)) (f *follower, err error) {
	f = &follower{
		node: n, read: read, begun: begun,
		fresh: make(chan config.Config, 1), again: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if file != "" {
		err = n.files.Add(f.load, file)
	}
	go f.run()
	return f, err
}

// load reads the file. The watcher calls it, which must not be called meanwhile: so run does the rest.
func (f *follower) load() error {
	c, err := f.read()
	if err != nil {
		return err
	}
	select {
	case <-f.fresh: // nobody has taken it: this one is newer
	default:
	}
	f.fresh <- c
	return nil
}

// look reads the file if it has changed, and tries again what could not be done.
func (f *follower) look() {
	f.node.files.Look()
	f.node.sinks.Look()
	select {
	case f.again <- struct{}{}:
	default:
	}
}

func (f *follower) run() {
	defer close(f.done)
	last := f.begun
	for {
		select {
		case last = <-f.fresh:
		case <-f.again:
		case <-f.stop:
			return
		}
		if err := f.node.sinks.Reload(last.Sinks); err != nil && !errors.Is(err, pump.ErrClosed) {
			f.node.log.Error("the sinks stay as they are: the changed configuration cannot be used", "error", fmt.Errorf("sinks.%w", err))
		}
		if err := f.reloadSources(last); err != nil && !errors.Is(err, source.ErrClosed) {
			f.node.log.Error("the sources stay as they are: the changed configuration cannot be used", "error", fmt.Errorf("sources.%w", err))
		}
		f.tellOthers(last)
	}
}

// reloadSources makes the node's sources those of c. A node with a store that has begun without sinks and sources has no stream for dead letters.
func (f *follower) reloadSources(c config.Config) error {
	for name := range c.Sources {
		if f.begun.Store.Path != "" && f.node.streams.Get(pump.LettersStream) == nil {
			return fmt.Errorf("%s: the node has no stream %s for records of which nothing can be made; it gets that when it starts with a sink or a source", name, pump.LettersStream)
		}
	}
	return f.node.sources.Reload(c.Sources)
}

// tellOthers logs that changes of other sections wait for a restart.
func (f *follower) tellOthers(c config.Config) {
	if sections := config.Changed(f.begun, c, "sinks", "sources"); len(sections) > 0 {
		f.node.log.Log(context.Background(), slog.LevelWarn, "the changed configuration of these sections takes effect at the next start", "sections", sections)
	}
}

// close ends the following.
func (f *follower) close() {
	close(f.stop)
	<-f.done
}
