package disk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

const devices, perDevice = 200, 5

// filled makes a directory with sessions, queued messages and retained messages, of which some are in the state and the newest in the journal
// alone.
func filled(t testing.TB, second string) string {
	t.Helper()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	dir := t.TempDir()
	s, err := Open(store.Options{SecondPath: second}, Options{Path: dir, journal: small, checkpoint: 20_000, applyAfter: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for i := range devices {
		device := fmt.Sprintf("d%03d", i)
		q := s.Queue(device)
		s.Save(&store.Record{Device: device, Session: 1, Expiry: time.Hour, Subscriptions: []topic.Subscription{{Filter: "a/#"}}})
		for n := range perDevice {
			m := message.Message{ID: uint64(i*perDevice + n + 1), Topic: "a/b", Payload: fmt.Appendf(nil, "%d of %s", n, device)}
			if err := q.Push(m.Clone(), 1, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		m := message.Message{Topic: "kept/" + device, Payload: random(100)}
		if i%50 == 0 {
			m.Payload = random(2100) // large
		}
		if err := s.Retain(m.Clone(), time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := commit(s); err != nil {
			t.Fatal(err)
		}
	}
	s.Put(store.SpacePlace, "a consumer", []byte("17"))
	for s.Stats().Behind > 0 {
		time.Sleep(time.Millisecond)
	}
	to := s.copyRunning(t) // as after a kill
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return to
}

// copyOf returns a copy of a directory.
func copyOf(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// checked returns what Check finds wrong.
func checked(t testing.TB, dir string) (bad []string, all int) {
	t.Helper()
	if err := Check(dir, func(f Finding) {
		if all++; f.Bad {
			bad = append(bad, f.Part+": "+f.Text)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return bad, all
}

// content returns names and bytes of a directory's files, but for locks.
func contentOf(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "LOCK" {
			text, _ := os.ReadFile(name)
			fmt.Fprintln(&all, name, len(text), bytes.Count(text, []byte{0}))
		}
		return nil
	})
	return all.String()
}

func TestCheckAndExport(t *testing.T) {
	dir := filled(t, "")
	before := contentOf(t, dir)
	bad, all := checked(t, dir)
	if bad != nil || all < 3 {
		t.Errorf("a directory that is well: %d findings, %q", all, bad)
	}
	counts := exportOf(t, dir)
	if want := map[string]int{"session": devices, "subscription": devices, "queued": devices * perDevice, "retained": devices, "value": 1}; fmt.Sprint(counts) != fmt.Sprint(want) {
		t.Errorf("exported %v, want %v", counts, want)
	}
	if after := contentOf(t, dir); after != before {
		t.Errorf("files have changed:\n%s\n%s", before, after)
	}
	s := openFiles(t, store.Options{}, dir)
	if err := Check(dir, func(Finding) {}); err == nil || !strings.Contains(err.Error(), "in use by process") {
		t.Errorf("a directory in use: %v", err)
	}
	_ = s.Close()
	if err := Check(t.TempDir(), func(Finding) {}); err == nil || !strings.Contains(err.Error(), "not the directory of a store") {
		t.Errorf("another directory: %v", err)
	}
}

func exportOf(t *testing.T, dir string) map[string]int {
	t.Helper()
	var out bytes.Buffer
	if err := Export(dir, &out, func(f Finding) { t.Error(f) }); err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	last := make(map[string]uint64)
	for d := json.NewDecoder(&out); d.More(); {
		var e exported
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		counts[e.Type]++
		if e.Type == "queued" {
			if e.Number <= last[e.Device] || e.Message.Topic != "a/b" || !strings.HasSuffix(string(e.Message.Payload), e.Device) {
				t.Errorf("queued: %+v", e)
			}
			last[e.Device] = e.Number
		}
		if e.Type == "retained" && len(e.Message.Payload)%2000 != 100 {
			t.Errorf("retained: %d bytes", len(e.Message.Payload))
		}
	}
	return counts
}

// files returns the files of a directory with a suffix.
func files(t testing.TB, dir, suffix string) (names []string) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(name, suffix) {
			names = append(names, name)
		}
		return err
	})
	if len(names) == 0 {
		t.Fatalf("no file %s in %s", suffix, dir)
	}
	return names
}

func spoil(t testing.TB, name string, at, length int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt(bytes.Repeat([]byte{0x5A}, int(length)), at)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestRepair spoils a directory in many ways. Check says that something is wrong, Repair says what is lost, and then a node starts, and Check finds
// nothing wrong.
func TestRepair(t *testing.T) {
	whole := filled(t, "")
	for name, c := range map[string]struct {
		spoil func(dir string)
		said  string // of what Repair says
		least int    // records that must be there
	}{
		"nothing":      {func(string) {}, "", devices},
		"format":       {func(dir string) { _ = os.Remove(filepath.Join(dir, formatFile)) }, "FORMAT: ", devices},
		"format text":  {func(dir string) { _ = os.WriteFile(filepath.Join(dir, formatFile), []byte("x"), 0o600) }, "FORMAT: ", devices},
		"a record":     {func(dir string) { spoilRecord(t, dir) }, "lost: the one ", devices - 1},
		"state's list": {func(dir string) { spoil(t, manifest(t, dir), 30, 40) }, "it is set aside as state.damaged-", 0},
		"no state":     {func(dir string) { _ = os.RemoveAll(filepath.Join(dir, "state")) }, "those between are lost", 0},
		"no journal":   {func(dir string) { _ = os.RemoveAll(filepath.Join(dir, "journal")) }, "journal ends at 1", devices / 2},
		"a table": {func(dir string) {
			tables := files(t, dir, ".sst")
			spoil(t, tables[len(tables)/2], 100, 300)
		}, "cannot be read", 0},
		"all tables": {func(dir string) {
			for _, table := range files(t, dir, ".sst") {
				spoil(t, table, 0, 200)
			}
		}, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyOf(t, whole)
			c.spoil(dir)
			bad, _ := checked(t, dir)
			if (bad == nil) != (name == "nothing") {
				t.Errorf("Check finds %q", bad)
			}
			var said []string
			if err := Repair(dir, false, func(f Finding) { said = append(said, f.Part+": "+f.Text) }); err != nil {
				t.Fatalf("%v, after %q", err, said)
			}
			if text := strings.Join(said, "\n"); !strings.Contains(text, c.said) || (text == "") != (name == "nothing") {
				t.Errorf("Repair says %q, want %q", text, c.said)
			}
			s, err := Open(store.Options{}, Options{Path: dir, journal: small, checkpoint: 20_000, applyAfter: time.Millisecond})
			if err != nil {
				t.Fatalf("after the repair: %v", err)
			}
			found := 0
			_ = s.Records(func(*store.Record) bool { found++; return true })
			if found < c.least {
				t.Errorf("%d records are left, want %d at least", found, c.least)
			}
			s.Save(&store.Record{Device: "new", Session: 1})
			if err := errors.Join(commit(s), s.catchUpNow(), s.Close()); err != nil {
				t.Fatal(err)
			}
			if bad, _ := checked(t, dir); bad != nil && name != "a record" {
				t.Errorf("after the repair and a start, Check finds %q", bad)
			}
		})
	}
}

// catchUpNow waits until the state is behind nothing.
func (s *Store) catchUpNow() error {
	for deadline := time.Now().Add(time.Minute); s.Stats().Behind > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("the state is behind")
		}
	}
	return nil
}

// spoilRecord flips a byte of an operation that is in the journal alone.
func spoilRecord(t *testing.T, dir string) {
	t.Helper()
	for _, name := range files(t, filepath.Join(dir, "journal"), ".segment") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(text, fmt.Appendf(nil, "d%03d", devices-3)); at >= 0 {
			spoil(t, name, int64(at), 1)
			return
		}
	}
	t.Fatal("the device is not in the journal")
}

func manifest(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "state", "MANIFEST-*"))
	if err != nil || len(names) == 0 {
		t.Fatal(err, names)
	}
	return names[len(names)-1]
}

// TestRepairAtRandom spoils bytes at random places of the state and the journal: after Repair a node starts.
func TestRepairAtRandom(t *testing.T) {
	whole := filled(t, "")
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 5))
		dir := copyOf(t, whole)
		all := append(files(t, filepath.Join(dir, "state"), ""), files(t, filepath.Join(dir, "journal"), ".segment")...)
		for range 1 + rng.IntN(4) {
			name := all[rng.IntN(len(all))]
			if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
				spoil(t, name, rng.Int64N(info.Size()), min(1+rng.Int64N(600), info.Size()))
			}
		}
		if err := Check(dir, func(Finding) {}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if err := Repair(dir, false, func(Finding) {}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		s, err := Open(store.Options{}, Options{Path: dir, journal: small})
		if err != nil {
			t.Fatalf("seed %d, after the repair: %v", seed, err)
		}
		_ = s.Close()
	}
}

// TestRepairWithoutSecond gives up a second directory that is gone.
func TestRepairWithoutSecond(t *testing.T) {
	second := filepath.Join(t.TempDir(), "second")
	dir := filled(t, second)
	if bad, _ := checked(t, dir); bad != nil {
		t.Fatalf("both directories are there: %q", bad)
	}
	if err := os.RemoveAll(second); err != nil {
		t.Fatal(err)
	}
	if bad, _ := checked(t, dir); len(bad) != 1 || !strings.Contains(bad[0], second) {
		t.Errorf("Check finds %q", bad)
	}
	if err := Repair(dir, false, func(Finding) {}); err == nil || !strings.Contains(err.Error(), "--without-second") {
		t.Errorf("repaired without being told to: %v", err)
	}
	if err := Repair(dir, true, func(Finding) {}); err != nil {
		t.Fatal(err)
	}
	s := openFiles(t, store.Options{}, dir)
	found := 0
	_ = s.Records(func(*store.Record) bool { found++; return true })
	if found != devices {
		t.Errorf("%d records", found)
	}
}
