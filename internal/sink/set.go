package sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/longline/longline/internal/bridge"
	"github.com/longline/longline/internal/model"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/stream"
)

// Options are what the sinks of a node need.
type Options struct {
	Node     uint16
	Router   *router.Router
	Streams  *stream.Set
	Store    store.Store       // keeps which sinks are paused
	Saved    map[string][]byte // its values in store.SpaceSink
	Services *service.Set
	Loops    *bridge.Loops
	Models   *model.Set
	Log      *slog.Logger
}

// Set is the sinks of a node. Its methods are safe from any goroutine.
type Set struct {
	options Options // static

	changing sync.Mutex // held by Reload, Pause, Resume and Close, which wait

	mu sync.Mutex
	// Guarded by mu. The sinks are changed by who holds changing as well.
	sinks  map[string]*Sink
	paused map[string]bool
	closed bool
}

// Sink is a sink that runs. It does not change: after a change of its configuration there is another one.
type Sink struct {
	*pump.Pump

	name    string
	config  Config
	watcher *reload.Watcher // of the files that the configuration names
}

// Name returns the name of s.
func (s *Sink) Name() string { return s.name }

// Config returns the configuration of s, with its defaults.
func (s *Sink) Config() Config { return s.config }

// ErrUnknown says that there is no sink of that name.
var ErrUnknown = errors.New("there is no such sink")

// Open opens the sinks of a configuration, which is valid. An error begins with the name of the sink, and the key.
func Open(c setting.Named[Config], o Options) (*Set, error) {
	s := &Set{options: o, sinks: make(map[string]*Sink), paused: make(map[string]bool)}
	for name, value := range o.Saved {
		s.paused[name] = string(value) == savedPause
	}
	return s, s.Reload(c)
}

// Get returns the sink of that name, nil if there is none.
func (s *Set) Get(name string) *Sink {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sinks[name]
}

// All returns the sinks in the order of their names.
func (s *Set) All() []*Sink {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Sink, 0, len(s.sinks))
	for _, name := range slices.Sorted(maps.Keys(s.sinks)) {
		all = append(all, s.sinks[name])
	}
	return all
}

// changeTime is how long a sink that changes or goes has for what it has read.
const changeTime = 10 * time.Second

// Reload makes the sinks those of c, which is valid, after WithDefaults. Sinks whose configuration is as it was go on. Others end with what they have
// read, and begin again at their place. If one cannot be opened, or wants a stream that the node does not have, or the node has no stream for dead letters, everything stays as it was; the error begins with the name
// of the sink, and the key.
func (s *Set) Reload(c setting.Named[Config]) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.closed {
		return pump.ErrClosed
	}
	opened := make(map[string]*opened)
	for _, name := range slices.Sorted(maps.Keys(c)) {
		if old := s.Get(name); old != nil && reflect.DeepEqual(old.config, c[name]) {
			continue
		}
		o, err := s.open(name, c[name])
		if err != nil {
			for _, o := range opened {
				o.close()
			}
			return fmt.Errorf("%s.%w", name, err)
		}
		opened[name] = o
	}
	s.closeAll(changeTime, func(name string) bool {
		_, stays := c[name]
		return !stays || opened[name] != nil
	})
	s.tellStreams(c)
	for name, o := range opened {
		s.start(name, c[name], o)
	}
	return nil
}

// tellStreams tells the streams whose publications wait for sinks which these are.
func (s *Set) tellStreams(c setting.Named[Config]) {
	for _, one := range s.options.Streams.All() {
		if !one.AwaitsDelivery() {
			continue
		}
		var names []string
		for name, sink := range c {
			if sink.Stream == one.Name() {
				names = append(names, name)
			}
		}
		one.SetSinks(names)
	}
}

// opened is a sink between Open and Start.
type opened struct {
	Parts
	model   func() pump.Model // nil without one
	stream  *stream.Stream
	watcher *reload.Watcher
}

func (o *opened) close() {
	o.Target.Close()
	o.watcher.Close()
}

// open opens a sink.
func (s *Set) open(name string, c Config) (*opened, error) {
	from := s.options.Streams.Get(c.Stream)
	if from == nil {
		return nil, fmt.Errorf("stream: the node has no stream %q; it gets new ones when it starts", c.Stream)
	}
	if s.options.Streams.Get(pump.LettersStream) == nil {
		return nil, fmt.Errorf("stream: the node has no stream %s for what a sink cannot write; it gets that when it starts with a sink or a source", pump.LettersStream)
	}
	ask, err := s.model(c.Model)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	w := reload.Start()
	parts, err := c.Open(name, Needs{Node: s.options.Node, Services: s.options.Services, Watcher: w, Loops: s.options.Loops, Log: s.options.Log})
	if err != nil {
		w.Close()
		return nil, err
	}
	return &opened{parts, ask, from, w}, nil
}

// model returns what makes steps of a model; nil if there is no name.
func (s *Set) model(name string) (func() pump.Model, error) {
	if name == "" {
		return nil, nil
	}
	m, err := s.options.Models.ForSinks(name)
	if err != nil {
		return nil, err
	}
	return func() pump.Model { return m.NewStep() }, nil
}

// start starts a sink. changing is held.
func (s *Set) start(name string, c Config, o *opened) {
	var done func(place uint64)
	if o.stream.AwaitsDelivery() {
		done = func(place uint64) { o.stream.Delivered(name, place) }
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sinks[name] = &Sink{name: name, config: c, watcher: o.watcher, Pump: pump.Start(pump.Sink{
		Name: name, Config: c.Pump, Node: s.options.Node, Stream: o.stream, Letters: s.options.Streams.Get(pump.LettersStream),
		Route: o.Route, Target: o.Target, Model: o.model, Paused: s.paused[name], Log: s.options.Log, Done: done, Publish: s.options.Router.PublishThen,
	})}
}

// closeAll closes the sinks that which says, all at the same time. changing is held.
func (s *Set) closeAll(within time.Duration, which func(name string) bool) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var closing sync.WaitGroup
	for _, one := range s.All() {
		if which(one.name) {
			closing.Go(func() { s.close(ctx, one) })
		}
	}
	closing.Wait()
}

func (s *Set) close(ctx context.Context, one *Sink) {
	if err := one.Close(ctx); err != nil {
		s.options.Log.Warn("a sink has ended with messages that are not confirmed", "sink", one.name, "reason", err)
	}
	one.watcher.Close()
	s.mu.Lock()
	delete(s.sinks, one.name)
	s.mu.Unlock()
}

// Close ends the sinks, which have this time for what they have read.
func (s *Set) Close(within time.Duration) {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.closed = true
	s.closeAll(within, func(string) bool { return true })
}

// Look looks at the files that the sinks' configurations name, as SIGHUP wants.
func (s *Set) Look() {
	for _, one := range s.All() {
		one.watcher.Look()
	}
}

// savedPause is the value in store.SpaceSink of a sink that is paused.
const savedPause = "paused"

// Pause makes a sink send nothing more, also after a restart. It returns when the store has that.
func (s *Set) Pause(ctx context.Context, name string) error { return s.setPaused(ctx, name, true) }

// Resume makes a sink go on after Pause, or after it has stopped by itself. It returns when the store has that.
func (s *Set) Resume(ctx context.Context, name string) error { return s.setPaused(ctx, name, false) }

func (s *Set) setPaused(ctx context.Context, name string, paused bool) error {
	if err := s.notePaused(name, paused); err != nil {
		return err
	}
	saved := make(chan error, 1)
	s.options.Store.Commit(func(err error) { saved <- err })
	select {
	case err := <-saved:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// notePaused pauses or resumes a sink, and gives that to the store.
func (s *Set) notePaused(name string, paused bool) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	one := s.Get(name)
	if one == nil {
		return ErrUnknown
	}
	s.mu.Lock()
	s.paused[name] = paused
	s.mu.Unlock()
	if !paused {
		one.Resume()
		s.options.Store.Put(store.SpaceSink, name, nil)
		return nil
	}
	one.Pause()
	s.options.Store.Put(store.SpaceSink, name, []byte(savedPause))
	return nil
}
