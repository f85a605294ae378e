// Package reload reads files again when they change: keys, certificates, lists of
// credentials. A file that cannot be used after a change leaves what was read before.
package reload

import (
	"log/slog"
	"os"
	"sync"
	"time"
)

// every is how often a started Watcher looks at its files.
const every = 2 * time.Second

// Watcher looks at files by size, time and identity. The zero value works and looks when
// Look is called; Start makes one that looks by itself. Safe from any goroutine.
type Watcher struct {
	// Static after construction; nil in a zero Watcher.
	stop chan struct{}
	done sync.WaitGroup

	// Guarded by mu, also while files are read: a loader does not call the watcher.
	mu     sync.Mutex
	items  []*item
	failed uint64
}

// item is what is read together, such as a certificate and its key.
type item struct {
	load  func() error
	names []string
	last  []os.FileInfo // as they were before the last load; nil for one that was not there
	bad   bool          // the last load failed
}

// Start returns a watcher that looks every 2 s until Close.
func Start() *Watcher {
	w := &Watcher{stop: make(chan struct{})}
	w.done.Go(w.run)
	return w
}

func (w *Watcher) run() {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.Look()
		case <-w.stop:
			return
		}
	}
}

// Close ends the looking. It is called once, and only for a watcher that was started.
func (w *Watcher) Close() {
	close(w.stop)
	w.done.Wait()
}

// Add calls load, and again whenever one of the files has changed. It returns the error of
// the first call, after which there is no other; later ones are logged and counted.
func (w *Watcher) Add(load func() error, names ...string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	it := &item{load: load, names: names, last: stat(names)}
	if err := load(); err != nil {
		return err
	}
	w.items = append(w.items, it)
	return nil
}

// Look reads what has changed since the last look, and again what could not be used then: who
// may read a file, for one, changes without its size and time.
func (w *Watcher) Look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, it := range w.items {
		now := stat(it.names)
		changed := !same(it.last, now)
		if !changed && !it.bad {
			continue
		}
		it.last = now // before the load: what changes while it reads is seen by the next look
		err := it.load()
		it.bad = err != nil
		if changed && it.bad {
			w.failed++
			slog.Error("a file changed and cannot be used; what was read before stays", "error", err)
		}
	}
}

// Failed is the number of changes that could not be used.
func (w *Watcher) Failed() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

func stat(names []string) []os.FileInfo {
	infos := make([]os.FileInfo, len(names))
	for i, name := range names {
		if info, err := os.Stat(name); err == nil {
			infos[i] = info
		}
	}
	return infos
}

func same(a, b []os.FileInfo) bool {
	for i := range a {
		if (a[i] == nil) != (b[i] == nil) {
			return false
		}
		if a[i] != nil && (!a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size() || !os.SameFile(a[i], b[i])) {
			return false
		}
	}
	return true
}
