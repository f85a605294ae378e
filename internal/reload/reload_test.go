package reload

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func write(t *testing.T, name, text string, modified time.Time) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name, modified, modified); err != nil {
		t.Fatal(err)
	}
}

// words refuses a text that contains "!".
func words(text []byte) ([]string, error) {
	if strings.Contains(string(text), "!") {
		return nil, errors.New("line 1: want a word")
	}
	return strings.Fields(string(text)), nil
}

func TestFileFollowsChanges(t *testing.T) {
	name, day := filepath.Join(t.TempDir(), "words"), time.Unix(1000, 0)
	other := name + ".new"
	write(t, name, "one", day)
	var w Watcher
	f, err := Open(&w, name, words)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		what   string
		change func()
		want   string
		failed uint64
	}{
		{"nothing", func() {}, "one", 0},
		{"another time", func() { write(t, name, "two", day.Add(1)) }, "two", 0},
		{"another size", func() { write(t, name, "three", day.Add(1)) }, "three", 0},
		{"another file of this name", func() {
			write(t, other, "seven", day.Add(1))
			if err := os.Rename(other, name); err != nil {
				t.Fatal(err)
			}
		}, "seven", 0},
		{"broken", func() { write(t, name, "!", day) }, "seven", 1},
		{"still broken", func() {}, "seven", 1},
		{"removed", func() { os.Remove(name) }, "seven", 2},
		{"back", func() { write(t, name, "eight", day) }, "eight", 2},
	} {
		step.change()
		w.Look()
		if got := strings.Join(f.Get(), " "); got != step.want || w.Failed() != step.failed {
			t.Errorf("%s: got %q and %d failures, want %q and %d", step.what, got, w.Failed(), step.want, step.failed)
		}
	}
}

// A load that fails for a reason outside of the file is retried until it succeeds, and counted once.
func TestFailedLoadIsRepeated(t *testing.T) {
	name := filepath.Join(t.TempDir(), "words")
	write(t, name, "one", time.Unix(1000, 0))
	var w Watcher
	var refuse error
	loads := 0
	if err := w.Add(func() error { loads++; return refuse }, name); err != nil {
		t.Fatal(err)
	}
	write(t, name, "two", time.Unix(2000, 0))
	refuse = os.ErrPermission
	w.Look()
	w.Look()
	refuse = nil
	w.Look()
	w.Look()
	if loads != 4 || w.Failed() != 1 {
		t.Errorf("loaded %d times with %d failures, want 4 and 1", loads, w.Failed())
	}
}

func TestOpenRefuses(t *testing.T) {
	name := filepath.Join(t.TempDir(), "words")
	var w Watcher
	if _, err := Open(&w, name, words); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	write(t, name, "!", time.Unix(1000, 0))
	if _, err := Open(&w, name, words); err == nil || err.Error() != name+": line 1: want a word" {
		t.Errorf("a broken file: %v", err)
	}
	write(t, name, "good", time.Unix(2000, 0))
	if w.Look(); w.Failed() != 0 || len(w.items) != 0 {
		t.Error("a file that was refused is watched")
	}
	if err := os.Truncate(name, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(&w, name, words); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a huge file: %v", err)
	}
}

func TestAddLoadsTogether(t *testing.T) {
	dir, loads := t.TempDir(), 0
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	write(t, cert, "c", time.Unix(1, 0))
	write(t, key, "k", time.Unix(1, 0))
	var w Watcher
	if err := w.Add(func() error { loads++; return nil }, cert, key); err != nil {
		t.Fatal(err)
	}
	for want, changed := range []string{"", cert, key} {
		if changed != "" {
			write(t, changed, "x", time.Unix(2, 0))
		}
		if w.Look(); loads != 1+want {
			t.Errorf("after a change of %q: %d loads, want %d", changed, loads, 1+want)
		}
	}
}

func TestStartLooksByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "words")
		write(t, name, "one", time.Unix(1, 0))
		w := Start()
		f, err := Open(w, name, words)
		if err != nil {
			t.Fatal(err)
		}
		write(t, name, "two", time.Unix(2, 0))
		time.Sleep(every) // of the bubble's clock
		synctest.Wait()
		if got := f.Get(); got[0] != "two" {
			t.Errorf("got %q after %v", got, every)
		}
		w.Close()
	})
}
