package model

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/setting"
)

var _ setting.Section[Config] = Config{}

// Options are what models need beside their configuration.
type Options struct {
	Services *service.Set
	Router   *router.Router
	Node     uint16 // the number of this node
	Watcher  *reload.Watcher
	Log      *slog.Logger
}

// Set is all models of a configuration. All methods are safe from any goroutine.
type Set struct{ models map[string]*Model }

// OpenSet opens the models of a configuration, which is valid and has its defaults. It contacts nobody: servers are called when there is something to ask.
// From now on messages are asked about whose models publish their answers. An error begins with the name of the model, and the key.
func OpenSet(c setting.Named[Config], o Options) (*Set, error) {
	s := &Set{models: make(map[string]*Model, len(c))}
	for _, name := range slices.Sorted(maps.Keys(c)) {
		m, err := open(name, c[name], o)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("%s.%w", name, err)
		}
		s.models[name] = m
	}
	return s, nil
}

// All returns the models in the order of their names.
func (s *Set) All() []*Model {
	all := make([]*Model, 0, len(s.models))
	for _, name := range slices.Sorted(maps.Keys(s.models)) {
		all = append(all, s.models[name])
	}
	return all
}

// ForSinks returns the model of that name, for messages of sinks: it sets its answers into messages.
func (s *Set) ForSinks(name string) (*Model, error) {
	m := s.models[name]
	switch {
	case m == nil:
		return nil, fmt.Errorf("there is no model %q", name)
	case !m.config.Sets():
		return nil, fmt.Errorf("%s publishes its answers: want a model with output.set", name)
	}
	return m, nil
}

// Close ends the models. What waits for an answer gets none. Steps are closed before.
func (s *Set) Close() {
	for _, m := range s.models {
		m.close()
	}
}
