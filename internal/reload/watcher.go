// Package reload reads files again when they change: keys, certificates, lists of
// credentials. If a changed file is invalid, its previous content stays in use.
package reload

import (
	"log/slog"
	"os"
	"sync"
	"time"
)

// every is how often a started Watcher checks its files.
const every = 2 * time.Second

// Watcher detects changes of files by size, time and identity. The zero value works, and checks only when
// Look is called; one made by Start also checks by itself. Safe from any goroutine.
type Watcher struct {
	// Static after construction; nil in a zero Watcher.
	stop chan struct{}
	done sync.WaitGroup

	// Guarded by mu, which is held while files are read: a loader must not call the watcher.
	mu     sync.Mutex
	items  []*item
	failed uint64
}

// item is a set of files that are loaded together, such as a certificate and its key.
type item struct {
	load  func() error
	names []string
	last  []os.FileInfo // before the last load; nil for a file that did not exist
	bad   bool          // the last load failed
}

// Start returns a watcher that checks every 2 s until Close.
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

// Close stops the checks. Call it once, and only for a watcher that was started.
func (w *Watcher) Close() {
	close(w.stop)
	w.done.Wait()
}

// Add calls load, and again whenever one of the files has changed. It returns the error of
// the first call, after which there are no others; later errors are logged and counted.
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

// Look loads the files that changed since the last look, and retries those whose last load failed, because
// permissions, for example, change without a change of size or time.
func (w *Watcher) Look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, it := range w.items {
		now := stat(it.names)
		changed := !same(it.last, now)
		if !changed && !it.bad {
			continue
		}
		it.last = now // before the load: the next look sees a change during the load
		err := it.load()
		it.bad = err != nil
		if changed && it.bad {
			w.failed++
			slog.Error("a changed file cannot be used; its previous content stays in use", "error", err)
		}
	}
}

// Failed returns the number of changes that could not be used.
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
