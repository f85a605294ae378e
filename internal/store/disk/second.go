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
	if err := belongs(path, s.Path, id); err != nil {
		return s, err
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

// belongs returns an error unless a directory is the second one of the store in path, which has an id for it.
func belongs(path, second, id string) error {
	text, err := os.ReadFile(filepath.Join(second, firstFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("second_path: %s is not the second directory of this store, or is not mounted: a part of the journal may be in it, "+
			"and is lost without it; to go on all the same: longline store repair --without-second %s", second, path)
	case err != nil:
		return fmt.Errorf("second_path: %w", err)
	case strings.TrimSpace(string(text)) != "longline first "+id:
		return fmt.Errorf("second_path: %s is the second directory of another store", second)
	}
	return nil
}

// lookForSecond returns the second directory that a store had last, and changes nothing.
func lookForSecond(path string) (Second, error) {
	id, last, err := readSecond(path)
	if err != nil || id == "" {
		return Second{}, err
	}
	if err := belongs(path, last, id); err != nil {
		return Second{}, err
	}
	return Second{Path: last}, nil
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
	if err := removeSynced(path, secondFile); err != nil {
		return err
	}
	return os.Remove(filepath.Join(second, firstFile))
}

// removeSynced removes a file, and returns when it cannot come back.
func removeSynced(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		return err
	}
	return journal.Dir(dir).Sync()
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
