package disk

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/journal/journaltest"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// A disk that fails for a while: nobody is told "safe" meanwhile, fences are refused, and what changed meanwhile is made safe when
// the disk is well, in its order, without a restart.
func TestDiskFailsForAWhile(t *testing.T) {
	for _, why := range []error{syscall.EIO, syscall.ENOSPC, syscall.EROFS} {
		for _, fate := range []journaltest.Fate{journaltest.Forgotten, journaltest.Kept, journaltest.Done} {
			t.Run(fmt.Sprint(why, " ", fate), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { failForAWhile(t, why, fate) })
			})
		}
	}
}

func failForAWhile(t *testing.T, why error, fate journaltest.Fate) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	s := newOnTestDisks(t, store.Options{}, 300)
	var fails atomic.Bool
	s.log.Fail(func(journaltest.Step) error {
		if fails.Load() {
			return why
		}
		return nil
	}, fate)
	q := s.Queue("d")
	s.Save(&store.Record{Device: "d", Session: 1, Expiry: time.Hour})
	push := func(n int) {
		m := message.Message{Topic: "a", Payload: fmt.Append(nil, n)}
		if err := q.Push(m.Clone(), 1, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	push(0)
	if err := commit(s); err != nil {
		t.Fatal(err)
	}
	fails.Store(true)
	for n := 1; n <= 20; n++ { // more than the journal holds while it fails
		push(n)
		s.Save(&store.Record{Device: "d", Session: 1, Expiry: time.Hour, Missed: uint64(n), Subscriptions: []topic.Subscription{{Filter: string(make([]byte, 300))}}})
		if err := commit(s); !errors.Is(err, why) || !errors.Is(s.Err(), journal.ErrFailed) {
			t.Fatalf("a fence of a disk that fails: %v, %v", err, s.Err())
		}
	}
	fails.Store(false)
	time.Sleep(10 * time.Second) // virtual: until the journal has tried again
	synctest.Wait()
	if err := s.Err(); err != nil {
		t.Fatalf("the disk is well: %v", err)
	}
	push(21)
	if err := commit(s); err != nil {
		t.Fatal(err)
	}
	for _, found := range s.Kill(t) {
		again := found.(*onTestDisks)
		q, n := again.Queue("d"), 0
		for ; ; n++ {
			if p := q.NextPage(0); p != nil {
				if err := again.Read(p); err != nil || q.Load(p) > 0 {
					t.Fatalf("a page is not read: %v", err)
				}
			}
			m, _, ok := q.Next(time.Now())
			if !ok {
				break
			}
			if string(m.Payload) != fmt.Sprint(n) {
				t.Fatalf("message %d is %s", n, m.Payload)
			}
		}
		_ = again.Records(func(r *store.Record) bool {
			if n != 22 || r.Missed != 20 {
				t.Errorf("%d messages, record %+v", n, r)
			}
			return true
		})
		_ = again.Close()
	}
	_ = s.Close()
}

// While the state's files cannot be written, what is acknowledged is in the journal, and the end does not wait for ever.
func TestStateFailsForAWhile(t *testing.T) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	var fails atomic.Bool
	fails.Store(true)
	files, log := vfs.NewMem(), journaltest.New()
	failing := errorfs.Wrap(files, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fails.Load() && strings.HasSuffix(op.Path, ".sst") {
			return syscall.ENOSPC
		}
		return nil
	}))
	s, err := Open(store.Options{}, Options{Path: "/data", files: failing, journalFS: log, journal: small, checkpoint: 100, closing: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	save := func(n int) {
		s.Save(&store.Record{Device: fmt.Sprint("d", n), Session: 1, Expiry: time.Hour, Subscriptions: []topic.Subscription{{Filter: strings.Repeat("x", 300)}}})
		if err := commit(s); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 100 { // several segments
		save(n)
	}
	if first := s.journal.First(); first != 1 {
		t.Errorf("the journal is trimmed to %d, and the state is not durable", first)
	}
	killed := log.Fork()
	fails.Store(false)
	for n := 100; s.journal.First() == 1; n++ { // pebble tries again by itself
		save(n)
	}
	fails.Store(true)
	for n := range 10 {
		save(n)
	}
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "cannot be written") {
		t.Errorf("the end: %v", err)
	}
	fails.Store(false)
	if err := <-s.stopped; err != nil { // it was waiting for them
		t.Errorf("the applier: %v", err)
	}
	_ = s.state.close()
	again := openOnTestDisks(t, store.Options{}, 100, killed, vfs.NewCrashableMem())
	n := 0
	_ = again.Records(func(*store.Record) bool { n++; return true })
	if n != 100 {
		t.Errorf("%d records are found", n)
	}
}

// What no journal can hold is not said to be safe, and is not in the way of others.
func TestTooLarge(t *testing.T) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	s := newOnTestDisks(t, store.Options{}, 300)
	s.Save(&store.Record{Device: "d", Subscriptions: []topic.Subscription{{Filter: string(make([]byte, 5000))}}})
	if err := commit(s); !errors.Is(err, errTooLong) {
		t.Errorf("a fence behind what is too large: %v", err)
	}
	s.Save(&store.Record{Device: "e"})
	if err := commit(s); err != nil || s.Stats().Lost != 1 {
		t.Errorf("the next fence: %v, lost %d", err, s.Stats().Lost)
	}
}

// Operations that the disk has spoilt are counted, and those behind them are there.
func TestSpoiltOperationsAreCounted(t *testing.T) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	s := newOnTestDisks(t, store.Options{}, 1<<40)
	for i := range 5 {
		s.Save(&store.Record{Device: fmt.Sprint("d", i)})
		if err := commit(s); err != nil {
			t.Fatal(err)
		}
	}
	left := s.log.Fork()
	for name := range left.Sizes() {
		if at := bytes.Index(left.Content(name), []byte("d2")); at >= 0 {
			left.Flip(name, at, 3)
		}
	}
	again := openOnTestDisks(t, store.Options{}, 1<<40, left, vfs.NewCrashableMem())
	n := 0
	_ = again.Records(func(*store.Record) bool { n++; return true })
	if lost := again.Stats().Lost; lost != 1 || n != 4 {
		t.Errorf("%d records are found, %d operations lost", n, lost)
	}
}

// A queue of pieces keeps their order while its place goes back and forth.
func TestFifo(t *testing.T) {
	var f fifo
	piece := func(n int) string { return fmt.Sprintf("%0*d", n%7+1, n) }
	pushed, popped := 0, 0
	for round := range 200 {
		for range round%9 + 1 {
			f.push([]byte(piece(pushed)))
			pushed++
		}
		if round%5 == 0 {
			f.again()
		}
		at := popped
		if round%5 == 0 {
			for ; at < pushed; at++ {
				if got := string(f.next()); got != piece(at) {
					t.Fatalf("piece %d is %s", at, got)
				}
				f.advance()
			}
			for range min(round%11, pushed-popped) {
				f.pop()
				popped++
			}
			if f.n != pushed-popped {
				t.Fatalf("%d pieces, want %d", f.n, pushed-popped)
			}
		}
	}
}
