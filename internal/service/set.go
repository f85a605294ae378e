package service

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

var _ setting.Section[Config] = Config{}

// Options are what services need beside their configuration.
type Options struct {
	Node    string          // the name of this node, for instances; may be empty
	Watcher *reload.Watcher // reads changed files again
	Log     *slog.Logger
}

// Set is all services of a configuration. All methods are safe from any goroutine.
type Set struct {
	services map[string]*Service // static after construction
	lastID   atomic.Uint64
}

// OpenSet opens the services of a configuration. Its errors begin with the name of the service, and the key.
func OpenSet(c setting.Named[Config], o Options) (*Set, error) {
	s := &Set{services: make(map[string]*Service, len(c))}
	// The clock at the start, so that an answer to a call of the node's earlier life is not taken for one of this life.
	s.lastID.Store(uint64(time.Now().UnixMicro()))
	for _, name := range slices.Sorted(maps.Keys(c)) {
		one, err := open(name, c[name], o)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("%s.%w", name, err)
		}
		s.services[name] = one
	}
	return s, nil
}

// Get returns the service of that name, nil if there is none.
func (s *Set) Get(name string) *Service { return s.services[name] }

// All returns the services in the order of their names.
func (s *Set) All() []*Service {
	all := make([]*Service, 0, len(s.services))
	for _, name := range slices.Sorted(maps.Keys(s.services)) {
		all = append(all, s.services[name])
	}
	return all
}

// Close ends the services. Calls that are under way go on.
func (s *Set) Close() {
	for _, one := range s.services {
		one.Close()
	}
}

// Begin begins a device's call and returns at once. timeout is how long the device waits; the service's is used if that is shorter, or
// timeout is 0. done is called exactly once, from any goroutine and perhaps before Begin returns, while no lock of this package is
// held; it must not block. cancel says that nobody waits any more: then done is called soon, if it was not yet.
func (s *Set) Begin(service string, c *Call, timeout time.Duration, done func(*Reply)) (cancel func()) {
	one := s.services[service]
	switch {
	case one == nil || one.config.Private:
		done(refuse(UnknownService, "no service has this name"))
		return func() {}
	case !validMethod(c.Method):
		done(refuse(UnknownMethod, "a method has 1 to 128 of A-Z a-z 0-9 . _ : -"))
		return func() {}
	}
	c.ID = s.lastID.Add(1)
	return one.begin(c, timeout, done)
}
