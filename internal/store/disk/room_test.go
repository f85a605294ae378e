package disk

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/longline/longline/internal/journal/journaltest"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// A store that has used its bytes takes no message, but what makes room; when there is some it takes messages again.
func TestMaxBytes(t *testing.T) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	const most = 5 << 20
	s := openOnTestDisks(t, store.Options{MaxBytes: most, Queue: store.Limits{Count: 1 << 20, Bytes: 1 << 30}}, 100_000, journaltest.New(), vfs.NewMem())
	s.Save(&store.Record{Device: "d", Session: 1, Expiry: time.Hour})
	q := s.Queue("d")
	n := 0
	for s.Err() == nil {
		for range 50 {
			m := message.Message{Topic: "a", Payload: []byte(fmt.Sprintf("%d %s", n, random(3000)))}
			if err := q.Push(m.Clone(), 1, time.Now()); err != nil {
				t.Fatal(err)
			}
			n++
		}
		if err := commit(s); err != nil {
			t.Fatalf("after %d: %v, %v", n, err, s.Err())
		}
		s.settle(t)
		s.lookAtRoom()
	}
	if err := s.Err(); !errors.Is(err, store.ErrNoRoom) || !strings.Contains(err.Error(), "store.max_bytes") {
		t.Fatal(err)
	}
	if n < 300 || n*3000 > most {
		t.Errorf("it has taken %d messages of 3,000 bytes", n)
	}
	for i := range n {
		m, _, ok := q.Next(time.Now())
		if !ok || !q.Ack(m.ID) {
			t.Fatal("a message is missing")
		}
		if i%50 > 0 {
			continue
		}
		if err := commit(s); err != nil {
			t.Fatalf("an acknowledgement is refused: %v", err)
		}
	}
	s.settle(t)
	for deadline := time.Now().Add(time.Minute); s.Err() != nil; s.lookAtRoom() {
		if time.Now().After(deadline) {
			t.Fatalf("all is acknowledged: %v", s.Err())
		}
		time.Sleep(time.Millisecond) // pebble removes files in its own time
	}
}

// random returns bytes that cannot be compressed.
func random(n int) []byte {
	b := make([]byte, n)
	x := randomState.Add(0x9e3779b97f4a7c15)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

var randomState atomic.Uint64

// settle brings the state to the end of the journal, and makes pebble rewrite what is deleted.
func (s *onTestDisks) settle(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); s.Stats().Behind > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the applier does not come to the end")
		}
		time.Sleep(time.Millisecond)
	}
	if err := s.Store.state.db.Compact(t.Context(), []byte{0}, []byte{0xFF}, false); err != nil {
		t.Fatal(err)
	}
}

func TestReserve(t *testing.T) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	log := journaltest.New()
	log.SetFree(100 << 20)
	s := openOnTestDisks(t, store.Options{Reserve: 64 << 20}, 300, log, vfs.NewMem())
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	log.SetFree(63 << 20)
	s.lookAtRoom()
	if err := s.Ready(); !errors.Is(err, store.ErrNoRoom) || !strings.Contains(err.Error(), "63 MiB free") {
		t.Errorf("with too little space: %v", err)
	}
	for i := range 100 { // several segments
		s.Save(&store.Record{Device: fmt.Sprint("d", i), Missed: 1 << 60})
		if err := commit(s); err != nil {
			t.Fatalf("half of the reserve is for what makes room: %v", err)
		}
	}
	log.SetFree(65 << 20)
	if s.lookAtRoom(); s.Err() == nil {
		t.Error("messages are taken again at once: it would go back and forth")
	}
	log.SetFree(67 << 20)
	if s.lookAtRoom(); s.Err() != nil {
		t.Error(s.Err())
	}
}

// A manifest that cannot be written does not end the process: the state waits, and goes on when the disk is well.
func TestManifestFailsForAWhile(t *testing.T) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	for _, why := range []error{syscall.ENOSPC, syscall.EROFS, syscall.EIO} {
		var fails atomic.Bool
		files, log := vfs.NewCrashableMem(), journaltest.New()
		failing := errorfs.Wrap(files, errorfs.InjectorFunc(func(op errorfs.Op) error {
			writes := op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileWriteAt ||
				op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpOpenDir
			if fails.Load() && writes && !strings.HasSuffix(op.Path, ".sst") {
				return why
			}
			return nil
		}))
		s, err := Open(store.Options{}, Options{Path: "/data", files: failing, journalFS: log, journal: small, checkpoint: 500})
		if err != nil {
			t.Fatal(err)
		}
		save := func(n int) {
			s.Save(&store.Record{Device: fmt.Sprint("d", n), Session: uint64(n) + 1, Expiry: time.Hour})
			if err := commit(s); err != nil {
				t.Fatal(err)
			}
		}
		for n := range 100 {
			if save(n); n == 50 {
				fails.Store(true)
			}
		}
		for s.Stats().Faults == 0 {
			time.Sleep(time.Millisecond)
		}
		fails.Store(false)
		first := s.journal.First()
		for n := 100; s.journal.First() == first; n++ {
			save(n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		again := openOnTestDisks(t, store.Options{}, 500, log.Copy(), files.CrashClone(vfs.CrashCloneCfg{}))
		n := 0
		_ = again.Records(func(*store.Record) bool { n++; return true })
		if n < 100 {
			t.Errorf("%v: %d records are found", why, n)
		}
		_ = again.Close()
	}
}

// A directory in which pebble can write nothing is an error at start, not the end of the process.
func TestStateThatCannotBeMade(t *testing.T) {
	failing := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync {
			return syscall.EROFS
		}
		return nil
	}))
	_, err := Open(store.Options{}, Options{Path: "/data", files: failing, journalFS: journaltest.New(), journal: small})
	if !errors.Is(err, syscall.EROFS) && (err == nil || !strings.Contains(err.Error(), syscall.EROFS.Error())) {
		t.Error(err)
	}
}
