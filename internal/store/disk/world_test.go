package disk

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/journal/journaltest"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
)

// small is a journal of which a few operations fill a segment.
var small = journal.Options{SegmentSize: 16 << 10, Pending: 4 << 10}

// onTestDisks is a store on disks that are in memory.
type onTestDisks struct {
	*Store
	bounds store.Options
	log    *journaltest.Disk
	state  *vfs.MemFS
}

func openOnTestDisks(t testing.TB, bounds store.Options, checkpoint int64, log *journaltest.Disk, state *vfs.MemFS) *onTestDisks {
	t.Helper()
	s, err := Open(bounds, Options{Path: "/data", files: state, journalFS: log, journal: small, checkpoint: checkpoint, applyAfter: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &onTestDisks{s, bounds, log, state}
}

func newOnTestDisks(t testing.TB, bounds store.Options, checkpoint int64) *onTestDisks {
	return openOnTestDisks(t, bounds, checkpoint, journaltest.New(), vfs.NewCrashableMem())
}

// Kill implements storetest.Killable: the process alone ends, or the power is cut, and the state's files have lost all that was
// not synced, some of it, or nothing.
func (s *onTestDisks) Kill(t *testing.T) (found []storetest.Whole) {
	rng := rand.New(rand.NewPCG(1, 2))
	torn := func() *journaltest.Disk { return s.log.Fork().Crash(rng.IntN) }
	for _, percent := range []int{0, 50, 100} {
		for _, log := range []func() *journaltest.Disk{s.log.Copy, s.log.Fork, torn} {
			s.applying.Lock() // the state is never ahead of the journal
			state := s.state.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
			left := log()
			s.applying.Unlock()
			found = append(found, openOnTestDisks(t, s.bounds, s.options.checkpoint, left, state))
		}
	}
	return found
}

// onFiles is a store in a directory.
type onFiles struct {
	*Store
	bounds store.Options
}

func openFiles(t *testing.T, bounds store.Options, path string) *onFiles {
	t.Helper()
	s, err := Open(bounds, Options{Path: path, journal: small, checkpoint: 500, applyAfter: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &onFiles{s, bounds}
}

// Kill implements storetest.Killable.
func (s *onFiles) Kill(t *testing.T) []storetest.Whole {
	return []storetest.Whole{openFiles(t, s.bounds, s.copyRunning(t))}
}

// copyRunning copies the files as they are now, and returns the copy. The journal may rename and remove files that it does not
// need meanwhile: then another copy is made.
func (s *Store) copyRunning(t testing.TB) string {
	t.Helper()
	s.applying.Lock()
	defer s.applying.Unlock()
	for {
		to := filepath.Join(t.TempDir(), "data")
		err := os.CopyFS(to, os.DirFS(s.options.Path))
		if err == nil {
			return to
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
}
