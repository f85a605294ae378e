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

// version is that of a store's directory as a whole: what is where in it. Its parts have versions of their own. Version 1, of which no
// program was released, had nothing of what a queue has to know beside its messages.
const version = 2

// formatFile says the version, in one line: "longline store 2".
const formatFile = "FORMAT"

// enter locks a directory, which it makes if it does not exist, and checks its version.
func enter(path string) (io.Closer, error) {
	lock, err := journal.Dir(path).Lock()
	if err != nil {
		return nil, err
	}
	if err = checkVersion(path); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

func checkVersion(path string) error {
	err := readVersion(path)
	if errors.Is(err, fs.ErrNotExist) {
		return writeVersion(path)
	}
	return err
}

// errNewer says that a newer program wrote a directory.
var errNewer = errors.New("a newer Longline wrote this directory")

// formatText is the content of the file FORMAT.
var formatText = fmt.Sprintf("longline store %d\n", version)

// readVersion returns an error unless this program knows what is in the directory.
func readVersion(path string) error {
	file := filepath.Join(path, formatFile)
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	number, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "longline store ")
	n, err := strconv.Atoi(number)
	switch {
	case !ok || err != nil || n < 1:
		return fmt.Errorf("%s does not say which version of Longline wrote this directory", file)
	case n < version:
		return fmt.Errorf("an older Longline wrote this directory: it has version %d, which this program does not read", n)
	case n > version:
		return fmt.Errorf("%w: it has version %d, this program knows versions up to %d", errNewer, n, version)
	}
	return nil
}

// writeVersion makes the file of a new directory. It is there as a whole or not at all.
func writeVersion(path string) error {
	file := filepath.Join(path, formatFile)
	for _, part := range []string{"journal", "state", "streams"} {
		if _, err := os.Stat(filepath.Join(path, part)); err == nil {
			return fmt.Errorf("%s is missing, and %s is there: put a copy of the whole directory back", file, part)
		}
	}
	return replaceFile(path, formatFile, formatText)
}
