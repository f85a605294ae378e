package stream

import (
	"log/slog"

	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/store"
)

// Options are what the streams of a node need.
type Options struct {
	Router *router.Router
	Store  store.Store       // keeps the consumers' places
	Places map[string][]byte // those that it kept: its values in store.SpacePlace
	Log    *slog.Logger

	Reserve   int64 // bytes that the file system must have left after a stream grew
	MaxRecord int   // the largest message that may come, with its topic and properties
}

// Set is the streams of a node. Its methods are safe from any goroutine.
type Set struct{}

// Open opens the streams of config in the directory dir, each in dir/NAME, and subscribes them. It waits for the disk.
func Open(dir string, config setting.Named[Config], o Options) (*Set, error) { return &Set{}, nil }

// Get returns the stream of that name, nil if there is none.
func (s *Set) Get(name string) *Stream { return nil }

// All returns the streams by name.
func (s *Set) All() []*Stream { return nil }

// Close ends the subscriptions and the readers, and makes safe what the streams took.
func (s *Set) Close() error { return nil }
