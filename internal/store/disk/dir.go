package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/longline/longline/internal/journal"
)

// version is that of a store's directory as a whole: what is where in it. Its parts have versions of their own.
const version = 1

// formatFile says the version, in one line: "longline store 1".
const formatFile = "FORMAT"

// enter locks a directory, which it makes if it does not exist, and checks its version.
func enter(path string) (io.Closer, error) {
	d := journal.Dir(path)
	lock, err := d.Lock()
	if err != nil {
		return nil, err
	}
	if err = checkVersion(path, d); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

func checkVersion(path string, d journal.FS) error {
	file := filepath.Join(path, formatFile)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return writeVersion(file, d)
	}
	if err != nil {
		return err
	}
	number, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "longline store ")
	n, err := strconv.Atoi(number)
	switch {
	case !ok || err != nil || n < 1:
		return fmt.Errorf("%s does not say which version of Longline wrote this directory", file)
	case n > version:
		return fmt.Errorf("a newer Longline wrote this directory: it has version %d, this program knows versions up to %d", n, version)
	}
	return nil
}

// writeVersion makes the file of a new directory. It is there as a whole or not at all.
func writeVersion(file string, d journal.FS) error {
	for _, part := range []string{"journal", "state", "streams"} {
		if _, err := os.Stat(filepath.Join(filepath.Dir(file), part)); err == nil {
			return fmt.Errorf("%s is missing, and %s is there: put a copy of the whole directory back", file, part)
		}
	}
	f, err := os.OpenFile(file+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "longline store %d\n", version)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(file+".new", file); err != nil {
		return err
	}
	return d.Sync()
}
