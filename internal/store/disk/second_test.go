package disk

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/longline/longline/internal/store"
)

// The second directory is found again, and a start without it is refused with its name.
func TestSecondDirectory(t *testing.T) {
	dir, second := t.TempDir(), filepath.Join(t.TempDir(), "not", "yet")
	n := 0
	save := func(s *Store) {
		t.Helper()
		s.Save(&store.Record{Device: fmt.Sprint("d", n), Session: 1})
		if err := commit(s); err != nil {
			t.Fatal(err)
		}
		n++
	}
	open := func(path string) (*Store, error) {
		return Open(store.Options{SecondPath: path}, Options{Path: dir, journal: small})
	}
	use := func(path string) {
		t.Helper()
		s, err := open(path)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		_ = s.Records(func(*store.Record) bool { found++; return true })
		if found != n {
			t.Errorf("%d records are found, want %d", found, n)
		}
		for range 20 {
			save(s)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(path, want string) {
		t.Helper()
		if _, err := open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with %q: %v, want %q", path, err, want)
		}
	}
	use("")
	use(second)
	use(second)

	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(second, moved); err != nil {
		t.Fatal(err)
	}
	refused(second, second+" is not the second directory of this store, or is not mounted")
	refused("", second+" is not the second directory")
	if _, err := os.Stat(second); err == nil {
		t.Error("a directory was made in place of the missing one")
	}
	use(moved)

	other := t.TempDir()
	s, err := Open(store.Options{SecondPath: other}, Options{Path: t.TempDir(), journal: small})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	refused(other, "is the second directory of another store")

	use("") // what is there is read, and left
	use("")
	use("")
	left := 0
	_ = filepath.WalkDir(moved, func(_ string, d fs.DirEntry, _ error) error {
		if !d.IsDir() && d.Name() != "LOCK" {
			left++
		}
		return nil
	})
	if _, err := os.Stat(filepath.Join(dir, secondFile)); err == nil || left != 0 {
		t.Errorf("%d files are left in the second directory", left)
	}
}
