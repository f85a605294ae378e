package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/longline/longline/internal/message"
)

func openIDs(t *testing.T, dir string, node uint16) *IDs {
	t.Helper()
	i, err := OpenIDs(dir, node)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if i.dir != nil {
			_ = i.Close()
		}
	})
	return i
}

func reserve(t *testing.T, i *IDs) message.Range {
	t.Helper()
	r, err := i.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A life begins above all that the one before may have given out. The clock has no say: it may have been set back.
func TestIDsOfTwoLives(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first := openIDs(t, dir, 1)
	reserve(t, first)
	last := reserve(t, first)
	if _, err := OpenIDs(dir, 1); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second process opens it: %v", err)
	}
	_ = first.Close() // as when it is killed
	if r, err := first.Reserve(); err == nil {
		t.Errorf("%v was reserved after the end", r)
	}
	far := reserve(t, openIDs(t, dir, 1))
	if far.First < last.End {
		t.Errorf("the second life has %v, the first had %v", far, last)
	}
}

func TestIDsOfAnotherNode(t *testing.T) {
	dir := t.TempDir()
	i := openIDs(t, dir, 1)
	reserve(t, i)
	_ = i.Close()
	if _, err := OpenIDs(dir, 2); err == nil || !strings.Contains(err.Error(), "is of node 1, not of node 2") {
		t.Errorf("node 2 takes the file of node 1: %v", err)
	}
}

func TestIDsFileThatSaysNothing(t *testing.T) {
	for _, text := range []string{"", "longline ids 1 1", "longline ids 2 1 7", "longline ids 1 1 x"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, idsFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenIDs(dir, 1); err == nil || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What cannot be written was not reserved.
func TestIDsThatCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	i := openIDs(t, dir, 1)
	first := reserve(t, i)
	away := dir + ".away"
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	if r, err := i.Reserve(); err == nil {
		t.Errorf("%v was reserved in no file", r)
	}
	if err := os.Rename(away, dir); err != nil {
		t.Fatal(err)
	}
	if r := reserve(t, i); r.First < first.End {
		t.Errorf("%v after %v", r, first)
	}
}
