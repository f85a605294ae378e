package disk

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/longline/longline/internal/journal/journaltest"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

func retain(t testing.TB, s *Store, name string, payload []byte) {
	t.Helper()
	m := message.Message{Topic: name, Payload: payload, QoS: 1}
	if err := s.Retain(m.Clone(), time.Now()); err != nil {
		t.Fatal(err)
	}
}

// kept returns what is retained, once all is on the medium alone.
func kept(t testing.TB, s *Store) []store.Kept {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		w := store.Walk{Filter: "#"}
		found, _ := s.Retained(&w, make([]store.Kept, 0, 10_000), 10_000, time.Now())
		waiting := 0
		for _, k := range found {
			if !k.Stored() {
				waiting++
			}
		}
		if waiting == 0 {
			return found
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d retained messages are in memory", waiting, len(found))
		}
	}
}

// readAll reads messages, and calls do for each; m is nil where there is none.
func readAll(t testing.TB, s *Store, found []store.Kept, do func(p *store.Page, i int, m *message.Message)) {
	t.Helper()
	for len(found) > 0 {
		p := store.RetainedPage(found)
		if err := s.Read(p); err != nil {
			t.Fatal(err)
		}
		if lost := s.LoadRetained(p); lost > 0 {
			t.Fatalf("%d are lost", lost)
		}
		for i, m := range p.Messages {
			do(p, i, m)
		}
		found = found[len(p.Retained):]
	}
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// What is retained is on disk and not in memory, also after a start.
func TestLargeRetainedTakeNoMemory(t *testing.T) {
	const n, size, most = 800, 64 << 10, 25 << 20 // of 50 MiB; buffers take some MiB
	dir := t.TempDir()
	open := func() *Store {
		s, err := Open(store.Options{}, Options{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	payload := func(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%08d", i), size/8) }
	s := open()
	idle := heap()
	for i := range n {
		retain(t, s, fmt.Sprintf("r/%04d", i), payload(i))
		if i%16 == 15 {
			if err := commit(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, after := range []string{"written", "started again"} {
		found := kept(t, s)
		used := heap() - idle
		t.Logf("%s: %d retained messages of %d KiB take %.1f MiB", after, len(found), size>>10, float64(used)/(1<<20))
		if len(found) != n || used > most {
			t.Errorf("%s: %d messages have %d bytes in memory", after, len(found), used)
		}
		i := 0
		readAll(t, s, found, func(_ *store.Page, _ int, m *message.Message) {
			if m == nil || !bytes.Equal(m.Payload, payload(i)) {
				t.Errorf("%s: message %d is %v", after, i, m)
			}
			i++
		})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if after == "written" {
			s = open()
		}
	}
}

// A message that cannot be read is counted as a fault, and is not in the way of the others. It is there when the disk is well.
func TestRetainedThatCannotBeRead(t *testing.T) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	files, log := vfs.NewMem(), journaltest.New()
	var fails atomic.Bool
	failing := errorfs.Wrap(files, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fails.Load() && op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") {
			return syscall.EIO
		}
		return nil
	}))
	s, err := Open(store.Options{}, Options{Path: "/data", files: failing, journalFS: log, journal: small, checkpoint: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for i := range 5 {
		retain(t, s, fmt.Sprint("r/", i), random(2000))
		if err := commit(s); err != nil {
			t.Fatal(err)
		}
	}
	found := kept(t, s)
	s.applying.Lock() // behind the checkpoint
	fails.Store(true)
	s.applying.Unlock()
	failed := 0
	readAll(t, s, found, func(p *store.Page, i int, m *message.Message) {
		if m == nil && p.Failed(i) != nil {
			failed++
		}
	})
	if faults := s.Stats().Faults; failed == 0 || faults < uint64(failed) {
		t.Errorf("%d cannot be read, %d faults are counted", failed, faults)
	}
	fails.Store(false)
	readAll(t, s, kept(t, s), func(p *store.Page, i int, m *message.Message) {
		if m == nil {
			t.Errorf("%s cannot be read: %v", p.Retained[i].Topic, p.Failed(i))
		}
	})
}

// What was small when it was retained is read from its one key after a start with a lower bound.
func TestRetainedWithAnotherBound(t *testing.T) {
	log, files := journaltest.New(), vfs.NewCrashableMem()
	all := store.Options{Retained: store.RetainedLimits{InMemory: 1 << 20}}
	s := openOnTestDisks(t, all, 1, log, files)
	retain(t, s.Store, "r", random(2000))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := openOnTestDisks(t, store.Options{}, 1, log, files)
	found := kept(t, again.Store)
	readAll(t, again.Store, found, func(_ *store.Page, _ int, m *message.Message) {
		if m == nil || len(m.Payload) != 2000 {
			t.Errorf("read %v", m)
		}
	})
	retain(t, again.Store, "r", random(10))
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	_ = openOnTestDisks(t, store.Options{}, 1, log, files).Close()
}

// The state keeps nothing of a large message that was replaced or removed.
func TestReplacedRetainedLeaveTheState(t *testing.T) {
	s := newOnTestDisks(t, store.Options{}, 1)
	for _, name := range []string{"replaced", "removed"} {
		retain(t, s.Store, name, random(2000))
	}
	retain(t, s.Store, "replaced", []byte("small"))
	retain(t, s.Store, "removed", nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := pebble.Open("/data/state", &pebble.Options{FS: s.state, ReadOnly: true, FormatMajorVersion: format, Logger: newQuiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var keys []string
	for _, prefix := range []string{"b/", "t/"} {
		if err := eachOf(db, prefix, func(key, _ []byte) error { keys = append(keys, string(key)); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(keys) != "[t/replaced]" {
		t.Errorf("the state has %q", keys)
	}
}
