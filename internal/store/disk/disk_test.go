package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/longline/longline/internal/journal/journaltest"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
)

func TestContractOnTestDisks(t *testing.T) {
	for _, checkpoint := range []int64{1, 300, 1 << 40} {
		t.Run(fmt.Sprint("checkpoint ", checkpoint), func(t *testing.T) {
			storetest.Run(t, func(t *testing.T, o store.Options) storetest.Whole { return newOnTestDisks(t, o, checkpoint) })
			storetest.RunDurable(t, func(t *testing.T, o store.Options) storetest.Killable { return newOnTestDisks(t, o, checkpoint) })
		})
	}
}

func TestContractOnFiles(t *testing.T) {
	open := func(t *testing.T, o store.Options) *onFiles { return openFiles(t, o, t.TempDir()) }
	storetest.Run(t, func(t *testing.T, o store.Options) storetest.Whole { return open(t, o) })
	storetest.RunDurable(t, func(t *testing.T, o store.Options) storetest.Killable { return open(t, o) })
}

func TestOneProcess(t *testing.T) {
	dir := t.TempDir()
	openFiles(t, store.Options{}, dir)
	_, err := Open(store.Options{}, Options{Path: dir})
	if want := fmt.Sprint("is in use by process ", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a second process is told %v, want %q", err, want)
	}
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]string{
		"longline store 3\n": "newer Longline",
		"longline store 1\n": "older Longline",
		"longline store 0\n": "does not say",
		"":                   "does not say",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, formatFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(store.Options{}, Options{Path: dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// A directory of which a part is missing, or from another day, is not taken for another store.
func TestPartsThatDoNotBelongTogether(t *testing.T) {
	for missing, want := range map[string]string{
		"journal":  "journal ends at 1",
		"state":    "journal begins at",
		formatFile: "is missing",
	} {
		dir := t.TempDir()
		s := openFiles(t, store.Options{}, dir)
		for i := range 300 { // several segments and checkpoints
			s.Save(&store.Record{Device: fmt.Sprint("d", i), Session: 1})
			if err := commit(s); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(dir, missing)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(store.Options{}, Options{Path: dir, journal: small}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without %s: %v, want %q", missing, err, want)
		}
	}
}

func commit(s store.Store) error {
	done := make(chan error, 1)
	s.Commit(func(err error) { done <- err })
	return <-done
}

// However fast operations are applied, their number is never less than none.
func TestStatsWhileOperationsAreApplied(t *testing.T) {
	s := newOnTestDisks(t, store.Options{}, 1<<20)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := range 3000 {
			s.Put(store.SpaceOrphan, "k", fmt.Append(nil, i))
			safe := make(chan error)
			s.Commit(func(err error) { safe <- err })
			if err := <-safe; err != nil {
				t.Error(err)
			}
		}
	}()
	for {
		if behind := s.Stats().Behind; behind > 1<<32 {
			t.Errorf("%d operations are behind", behind)
			<-ended
			return
		}
		select {
		case <-ended:
			return
		default:
		}
	}
}

// Operations do not wait for others while memory is short: messages leave it when the state has them.
func TestOperationsAreAppliedWhileMemoryIsShort(t *testing.T) {
	account := new(message.Account)
	account.SetLimit(100)
	account.Count(message.Debtor{}, 200)
	s, err := Open(store.Options{Account: account}, Options{
		Path: "/data", files: vfs.NewMem(), journalFS: journaltest.New(), journal: small, applyAfter: 24 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for i := range 3 {
		s.Put(store.SpaceOrphan, "k", fmt.Append(nil, i))
		for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			if stats := s.Stats(); stats.Unsafe == 0 && stats.Behind == 0 {
				break
			} else if time.Now().After(end) {
				t.Fatalf("%+v", stats)
			}
		}
	}
}
