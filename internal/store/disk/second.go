package disk

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/longline/longline/internal/journal"
)

// A store may have a second directory, on another disk: parts of its journals are there while the first disk is slow or fails. So a start
// without it would lose them. DIR/SECOND names it, and the file FIRST in it has the same id, so that neither an empty mount
// point nor the second directory of another store is taken for it.
const (
	secondFile = "SECOND"
	firstFile  = "FIRST"
)

// Second is the second directory of a store.
type Second struct {
	Path string // empty if there is none
	// Leaves says that the configuration does not name it any more: it is read, and nothing new is written there.
	Leaves bool
}

// pairUp finds the second directory of the store in path, or makes it. wanted is the configured one. The store's directory is
// locked.
func pairUp(path, wanted string) (Second, error) {
	id, last, err := readSecond(path)
	switch {
	case err != nil:
		return Second{}, err
	case id == "" && wanted == "":
		return Second{}, nil
	case id == "":
		return Second{Path: wanted}, makeSecond(path, wanted)
	}
	s := Second{Path: wanted}
	if wanted == "" {
		s = Second{Path: last, Leaves: true}
	}
	text, err := os.ReadFile(filepath.Join(s.Path, firstFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, fmt.Errorf("second_path: %s is not the second directory of this store, or is not mounted: a part of the journal may be in it, "+
			"and is lost without it; to go on all the same: longline store repair --without-second %s", s.Path, path)
	case err != nil:
		return s, fmt.Errorf("second_path: %w", err)
	case strings.TrimSpace(string(text)) != "longline first "+id:
		return s, fmt.Errorf("second_path: %s is the second directory of another store", s.Path)
	}
	if s.Leaves {
		if used, err := hasSegments(s.Path); used || err != nil {
			return s, err
		}
		return Second{}, forgetSecond(path, s.Path)
	}
	if s.Path != last {
		return s, replaceFile(path, secondFile, fmt.Sprintf("longline second %s %s\n", id, s.Path))
	}
	return s, nil
}

// readSecond returns what DIR/SECOND says; id is empty if there is none.
func readSecond(path string) (id, second string, err error) {
	text, err := os.ReadFile(filepath.Join(path, secondFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	rest, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "longline second ")
	id, second, found := strings.Cut(rest, " ")
	if !ok || !found || id == "" {
		return "", "", fmt.Errorf("%s does not say which directory is the second one", filepath.Join(path, secondFile))
	}
	return id, second, nil
}

func makeSecond(path, second string) error {
	if err := os.MkdirAll(second, 0o700); err != nil {
		return fmt.Errorf("second_path: %w", err)
	}
	switch _, err := os.Stat(filepath.Join(second, firstFile)); {
	case err == nil:
		return fmt.Errorf("second_path: %s is the second directory of another store", second)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("second_path: %w", err)
	}
	id := strings.ToLower(rand.Text())
	if err := replaceFile(second, firstFile, "longline first "+id+"\n"); err != nil {
		return fmt.Errorf("second_path: %w", err)
	}
	return replaceFile(path, secondFile, fmt.Sprintf("longline second %s %s\n", id, second))
}

// forgetSecond separates a store from its second directory, in which nothing is left.
func forgetSecond(path, second string) error {
	if err := os.Remove(filepath.Join(path, secondFile)); err != nil {
		return err
	}
	if err := journal.Dir(path).Sync(); err != nil {
		return err
	}
	return os.Remove(filepath.Join(second, firstFile))
}

// hasSegments reports whether segments of a journal are in a directory or below it.
func hasSegments(path string) (found bool, err error) {
	err = filepath.WalkDir(path, func(name string, _ fs.DirEntry, err error) error {
		found = found || strings.HasSuffix(name, ".segment")
		return err
	})
	return found, err
}

// replaceFile writes a file of one line. It is there as a whole, synced, or not at all.
func replaceFile(dir, name, text string) error {
	file := filepath.Join(dir, name)
	f, err := os.OpenFile(file+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(file+".new", file); err != nil {
		return err
	}
	return journal.Dir(dir).Sync()
}
