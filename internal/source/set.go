package source

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/longline/longline/internal/bridge"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/source/feed"
)

// Options are what the sources of a node need.
type Options struct {
	Number uint16 // of the node
	Node   feed.Node
	Loops  *bridge.Loops
	Log    *slog.Logger

	Offline bool // nothing is ever asked of another system: for checks
}

// Set is the sources of a node. Its methods are safe from any goroutine.
type Set struct {
	options Options // static

	changing sync.Mutex // held by Reload and Close, which wait

	mu sync.Mutex
	// Guarded by mu. The sources are changed by who holds changing as well.
	sources map[string]*Source
	closed  bool
}

// Source is a source that runs. It does not change: after a change of its configuration there is another one.
type Source struct {
	*feed.Source

	name    string
	config  Config
	watcher *reload.Watcher // of the files that the configuration names
}

// Name returns the name of s.
func (s *Source) Name() string { return s.name }

// Config returns the configuration of s, with its defaults.
func (s *Source) Config() Config { return s.config }

func (s *Source) close() {
	s.Close()
	s.watcher.Close()
}

// ErrClosed is the error of Reload after Close.
var ErrClosed = errors.New("the sources are closed")

// Open opens the sources of a configuration, which is valid. An error begins with the name of the source, and the key.
func Open(c setting.Named[Config], o Options) (*Set, error) {
	s := &Set{options: o, sources: make(map[string]*Source)}
	return s, s.Reload(c)
}

// All returns the sources in the order of their names.
func (s *Set) All() []*Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Source, 0, len(s.sources))
	for _, name := range slices.Sorted(maps.Keys(s.sources)) {
		all = append(all, s.sources[name])
	}
	return all
}

// Reload makes the sources those of c, which is valid, after WithDefaults. Sources whose configuration is as it was go on. If one cannot be opened, everything stays
// as it was; the error begins with the name of the source, and the key.
func (s *Set) Reload(c setting.Named[Config]) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.closed {
		return ErrClosed
	}
	opened := make(map[string]*parts)
	for _, name := range slices.Sorted(maps.Keys(c)) {
		if old := s.sources[name]; old != nil && reflect.DeepEqual(old.config, c[name]) {
			continue
		}
		p, err := s.open(name, c[name])
		if err != nil {
			for _, p := range opened {
				p.close()
			}
			return fmt.Errorf("%s.%w", name, err)
		}
		opened[name] = p
	}
	s.closeAll(func(name string) bool {
		_, stays := c[name]
		return !stays || opened[name] != nil
	})
	var errs []error
	for name, p := range opened {
		errs = append(errs, s.start(name, c[name], p))
	}
	return errors.Join(errs...)
}

// parts are a source between open and start.
type parts struct {
	feed    feed.Feed
	route   *route.Route
	watcher *reload.Watcher
}

func (p *parts) close() {
	p.feed.Close()
	p.watcher.Close()
}

// open opens a source.
func (s *Set) open(name string, c Config) (*parts, error) {
	w := reload.Start()
	p, err := c.open(name, s.options, w)
	if err != nil {
		w.Close()
	}
	return p, err
}

// open opens the parts of a source: it reads files, and contacts nobody.
func (c Config) open(name string, o Options, w *reload.Watcher) (*parts, error) {
	k, err := c.feed()
	if err != nil {
		return nil, err
	}
	r, err := route.Open(c.Route, route.Options{Watcher: w, Log: o.Log, Offline: o.Offline})
	if err != nil {
		return nil, err
	}
	f, err := k.Open(feed.Options{Name: name, Node: o.Number, Loops: o.Loops, Watcher: w, Log: o.Log})
	if err != nil {
		return nil, fmt.Errorf("%s.%w", k.Key, err)
	}
	return &parts{f, r, w}, nil
}

// CheckFiles reads the files that c, which is valid and has its defaults, names. It contacts nobody.
func (c Config) CheckFiles(name string, w *reload.Watcher) error {
	p, err := c.open(name, Options{Offline: true, Log: slog.New(slog.DiscardHandler)}, w)
	if err == nil {
		p.feed.Close()
	}
	return err
}

// start starts an opened source.
func (s *Set) start(name string, c Config, p *parts) error {
	one, err := feed.Start(feed.SourceOptions{Name: name, Number: s.options.Number, Config: c.Feed, Route: p.route, Feed: p.feed, Node: s.options.Node, Log: s.options.Log})
	if err != nil {
		p.close()
		return fmt.Errorf("%s.%w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources[name] = &Source{Source: one, name: name, config: c, watcher: p.watcher}
	return nil
}

// closeAll closes the sources that which names, side by side, and forgets them.
func (s *Set) closeAll(which func(name string) bool) {
	var ended sync.WaitGroup
	for _, one := range s.All() {
		if which(one.name) {
			ended.Go(one.close)
			s.mu.Lock()
			delete(s.sources, one.name)
			s.mu.Unlock()
		}
	}
	ended.Wait()
}

// Close ends all sources, and returns when what they have taken is answered.
func (s *Set) Close() {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.closed = true
	s.closeAll(func(string) bool { return true })
}
