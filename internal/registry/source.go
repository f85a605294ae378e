package registry

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/longline/longline/internal/reload"
)

// Source says where the instances of a service are found. One of its fields is given.
type Source struct {
	Instances []string `yaml:"instances" help:"URLs of the instances, such as http://10.0.0.5:9000"`
	DNS       DNS      `yaml:"dns" help:"finds the instances by name"`
	Consul    Consul   `yaml:"consul" help:"finds the instances in Consul: those that pass their checks"`
	Nacos     Nacos    `yaml:"nacos" help:"finds the instances in Nacos: those that are healthy and enabled"`
	Eureka    Eureka   `yaml:"eureka" help:"finds the instances in Eureka: those that are UP"`

	Kubernetes Kubernetes `yaml:"kubernetes" help:"finds the pods of a Kubernetes service: those that are ready"`
}

// kinds returns the fields of s with their keys.
func (s *Source) kinds() []kind {
	return []kind{
		{"instances", (*list)(&s.Instances)},
		{"dns", &s.DNS},
		{"consul", &s.Consul},
		{"nacos", &s.Nacos},
		{"eureka", &s.Eureka},
		{"kubernetes", &s.Kubernetes},
	}
}

// kind is one field of a Source.
type kind struct {
	key string
	section
}

// section is what a kind of source is to a Source.
type section interface {
	// given reports whether the configuration says anything about it.
	given() bool
	// setDefaults puts the defaults in place of zero fields. It is given.
	setDefaults()
	// validate returns what is wrong with it, after setDefaults. The error begins with key, or with a key below it.
	validate(key string) error
	// open makes the Discovery; w reads files again when they change. It waits for nobody: an error is about a file. It begins with
	// the key below that of the section.
	open(w *reload.Watcher) (Discovery, error)
}

// given returns the fields of s that are given.
func (s *Source) given() (all []kind) {
	for _, k := range s.kinds() {
		if k.section.given() {
			all = append(all, k)
		}
	}
	return all
}

// Given reports whether s names a source.
func (s Source) Given() bool { return len(s.given()) > 0 }

// WithDefaults returns s with the defaults in place of zero fields.
func (s Source) WithDefaults() Source {
	for _, k := range s.given() {
		k.setDefaults()
	}
	return s
}

// Sample returns s with the defaults of all sources, for the documentation.
func (s Source) Sample() Source {
	for _, k := range s.kinds() {
		k.setDefaults()
	}
	return s
}

// Validate returns what is wrong with s, after WithDefaults: also if it has no source, or several. The error begins with the key.
func (s Source) Validate() error {
	_, err := s.one()
	return err
}

// one returns the only source of s, or what is wrong.
func (s *Source) one() (kind, error) {
	all := s.given()
	switch len(all) {
	case 0:
		return kind{}, fmt.Errorf("instances: nothing says where they are: want options of one of %s", keys(s.kinds()))
	case 1:
		return all[0], all[0].validate(all[0].key)
	}
	return kind{}, fmt.Errorf("%s: want one source of instances, not %s", all[1].key, keys(all))
}

// isGiven reports whether a section has any option.
func isGiven(section any) bool { return !reflect.ValueOf(section).Elem().IsZero() }

func keys(all []kind) string {
	names := make([]string, len(all))
	for i, k := range all {
		names[i] = k.key
	}
	return strings.Join(names, ", ")
}

// Open makes the Discovery of s. Whoever calls it calls its Close.
func Open(s Source, w *reload.Watcher) (Discovery, error) {
	s = s.WithDefaults()
	k, err := s.one()
	if err != nil {
		return nil, err
	}
	d, err := k.open(w)
	if err != nil {
		return nil, fmt.Errorf("%s.%w", k.key, err)
	}
	return d, nil
}
