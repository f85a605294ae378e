package stream

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/message"
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

	// Second, if it is not empty, is where the streams' journals go on while dir is slow or fails, each in Second/NAME;
	// SecondLeaves and Stall as in journal.Options.
	Second       string
	SecondLeaves bool
	Stall        time.Duration

	Reserve   int64 // bytes that the file system must have left after a stream grew
	MaxRecord int   // the largest message that may come, with its topic and properties; 512 KiB by default

	// For tests. Zero values are the operating system's, and what Config.MaxBytes makes.
	files  func(name string) journal.FS
	sizes  journal.Options // SegmentSize and Pending
	period time.Duration
}

func (o *Options) second(name string) journal.FS {
	if o.Second == "" {
		return nil
	}
	return journal.Dir(filepath.Join(o.Second, name))
}

// Set is the streams of a node. Its methods are safe from any goroutine.
type Set struct {
	streams map[string]*Stream // static

	stop    chan struct{} // closed by Close
	stopped chan struct{} // closed when the keeper has ended
}

// Open opens the streams of config in the directory dir, each in dir/NAME, and subscribes them. Without streams dir may be
// empty. It waits for the disk.
func Open(dir string, config setting.Named[Config], o Options) (*Set, error) {
	if o.MaxRecord == 0 {
		o.MaxRecord = 512 << 10
	}
	if o.files == nil && dir != "" {
		o.files = func(name string) journal.FS { return journal.Dir(filepath.Join(dir, name)) }
		tellUnused(dir, config, o.Log)
	}
	if o.period == 0 {
		o.period = time.Second
	}
	s := &Set{streams: make(map[string]*Stream), stop: make(chan struct{}), stopped: make(chan struct{})}
	for _, name := range slices.Sorted(maps.Keys(config)) {
		one, err := open(name, config[name], &o)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", name, err), s.end())
		}
		s.streams[name] = one
	}
	go s.keep(o.period)
	return s, nil
}

// tellUnused logs the directories of streams that are not configured.
func tellUnused(dir string, config setting.Named[Config], log *slog.Logger) {
	entries, _ := os.ReadDir(dir) // it may not exist yet
	for _, e := range entries {
		if _, ok := config[e.Name()]; !ok && e.IsDir() {
			log.Warn("a stream is no longer configured: its messages stay on disk, and get no more", "stream", e.Name(),
				"directory", filepath.Join(dir, e.Name()))
		}
	}
}

// syncDelay bounds how long entries wait for others to share a sync with, while many come.
const syncDelay = 2 * time.Millisecond

// open opens a stream and subscribes it.
func open(name string, c Config, o *Options) (*Stream, error) {
	s := &Stream{name: name, config: c, options: o, log: o.Log.With("stream", name), lines: make(chan line, 16)}
	s.settled = func(err error) { _ = s.settle(err) } // of messages without a claim: nobody is told
	sizes := o.sizes
	if sizes.SegmentSize == 0 {
		sizes.SegmentSize, sizes.Pending = c.sizes(o.MaxRecord)
	}
	s.waiting = o.Router.NewWaiting(s.refuseLate)
	s.audience = audience{
		stream: name, store: o.Store, first: s.first,
		consumers: make(map[string]*consumer), readers: make(map[*Reader]struct{}),
	}
	for _, name := range s.audience.restore(o.Places) {
		s.log.Error("the place of a consumer cannot be read: it is forgotten", "consumer", name)
	}
	j, found, err := journal.Open(journal.Options{
		FS: o.files(name), SegmentSize: sizes.SegmentSize, Pending: sizes.Pending, SyncDelay: syncDelay,
		Second: o.second(name), SecondLeaves: o.SecondLeaves, Stall: o.Stall,
		MaxBytes: int64(c.MaxBytes), Reserve: o.Reserve,
		Reclaim: s.mayGo, OnRoom: s.pump,
		OnFault: func(err error) { s.tell(slog.LevelError, "the disk fails a stream", "error", err) },
	})
	if err != nil {
		return nil, err
	}
	s.journal = j
	if moved := s.audience.limit(uint64(found.End)); len(moved) > 0 {
		s.log.Warn("consumers were behind the end of the stream, and go on there: its files are new, or an older copy", "consumers", moved)
	}
	s.report(found)
	s.last = s.newest()
	s.expire(time.Now())
	o.Router.Accounts().Open("streams", s)
	for _, f := range c.Filters {
		o.Router.Subscribe(f, s, message.ExactlyOnce)
	}
	return s, nil
}

// report logs what a crash and the disk have left of the journal.
func (s *Stream) report(found journal.Recovery) {
	if found.Cut != nil {
		s.log.Info("the last entries of the stream were not whole and are given up: nobody was told that they were safe",
			"from", found.Cut.From, "to", found.Cut.To-1)
	}
	for _, g := range found.Lost {
		s.noteLost(g)
	}
	for _, name := range found.SetAside {
		s.log.Error("nothing in a file of the stream can be read: it is set aside", "file", name)
	}
}

// newest returns the time of the newest entry, 0 if there is none.
func (s *Stream) newest() int64 {
	rec, err := s.journal.Reader(s.journal.End() - 1).Next(ended)
	if err != nil {
		return 0
	}
	milliseconds, _, _ := splitEntry(rec.Data) // 0 with an error
	return milliseconds
}

// Get returns the stream of that name, nil if there is none.
func (s *Set) Get(name string) *Stream { return s.streams[name] }

// All returns the streams by name.
func (s *Set) All() []*Stream {
	all := make([]*Stream, 0, len(s.streams))
	for _, name := range slices.Sorted(maps.Keys(s.streams)) {
		all = append(all, s.streams[name])
	}
	return all
}

// Err returns why streams cannot make messages safe at present, nil if all can. It does not block.
func (s *Set) Err() error {
	var errs []error
	for _, one := range s.All() {
		errs = append(errs, one.Err())
	}
	return errors.Join(errs...)
}

// keep is the keeper's goroutine: it looks after each stream.
func (s *Set) keep(period time.Duration) {
	defer close(s.stopped)
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			for _, one := range s.streams {
				one.watch()
				one.expire(now)
				one.tellMissed()
				one.writeLog()
			}
		case <-s.stop:
			return
		}
	}
}

// Close ends the subscriptions and the readers, and makes safe what the streams took. Nobody publishes any more.
func (s *Set) Close() error {
	close(s.stop)
	<-s.stopped
	return s.end()
}

func (s *Set) end() error {
	var errs []error
	for _, one := range s.All() {
		if err := one.end(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", one.name, err))
		}
	}
	return errors.Join(errs...)
}
