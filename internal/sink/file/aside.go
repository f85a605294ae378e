package file

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
)

// aside looks after the files that were set aside: it compresses them, and removes those that are too many. It works on a goroutine of its own, while
// there is something to do.
type aside struct {
	// Static after construction.
	config Config
	log    *slog.Logger
	life   context.Context
	end    context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	running bool // guarded by mu
	again   bool // guarded by mu: there may be more to do
}

func newAside(c Config, log *slog.Logger) *aside {
	a := &aside{config: c, log: log}
	a.life, a.end = context.WithCancel(context.Background())
	return a
}

// The ends of the names of compressed files, and of those that are not complete.
const (
	gzipped = ".gz"
	partial = ".partial"
)

// tidy makes the goroutine look what there is to do. It returns at once.
func (a *aside) tidy() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.again = true; !a.running && a.life.Err() == nil {
		a.running = true
		a.done.Go(a.run)
	}
}

func (a *aside) run() {
	for a.more() {
		if err := a.look(); err != nil && a.life.Err() == nil {
			a.log.Warn("a file that was set aside cannot be compressed or removed", "error", err)
		}
	}
}

func (a *aside) more() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	more := a.again && a.life.Err() == nil
	a.again, a.running = false, more
	return more
}

// look compresses what is not compressed, and removes what is too old, also what an earlier life has left.
func (a *aside) look() error {
	names, err := a.names()
	var errs []error
	errs = append(errs, err)
	if keep := a.config.Rotate.Keep; keep > 0 && len(names) > keep {
		for _, name := range names[:len(names)-keep] {
			errs = append(errs, os.Remove(name))
		}
		names = names[len(names)-keep:]
	}
	for _, name := range names {
		if a.config.Compression == Gzip && !strings.HasSuffix(name, gzipped) {
			errs = append(errs, a.compress(name))
		}
	}
	return errors.Join(errs...)
}

// names returns the files that were set aside, oldest first.
func (a *aside) names() (names []string, err error) {
	dir, ext := filepath.Dir(a.config.Path), filepath.Ext(a.config.Path)
	base := strings.TrimSuffix(filepath.Base(a.config.Path), ext) + "-"
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), base)
		at, ours2 := strings.CutSuffix(strings.TrimSuffix(rest, gzipped), ext)
		if _, err := time.Parse(asideTime, at); ours && ours2 && err == nil {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(names)
	return names, err
}

// compress replaces a file by one that is compressed.
func (a *aside) compress(name string) (err error) {
	from, err := os.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(name+gzipped+partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	defer to.Close()
	w := gzip.NewWriter(to)
	for _, step := range []func() error{
		func() error { _, err := io.Copy(w, untilEnd{a.life, from}); return err },
		w.Close,
		to.Sync,
		func() error { return os.Rename(to.Name(), name+gzipped) },
		func() error { return syncDir(filepath.Dir(name)) },
	} {
		if err := step(); err != nil {
			_ = os.Remove(to.Name())
			return err
		}
	}
	return os.Remove(name)
}

// untilEnd is a reader that ends early with its context.
type untilEnd struct {
	ctx context.Context
	io.Reader
}

func (u untilEnd) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.Reader.Read(p)
}

// close ends what is under way; the next life goes on with it.
func (a *aside) close() {
	a.end()
	a.done.Wait()
}
