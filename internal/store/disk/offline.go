package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/store"
)

// This file, check.go, export.go and repair.go are for directories that no process uses. Nothing in them is called on a loop.

// offline is a store's directory that is only looked at.
type offline struct {
	path    string
	lock    io.Closer
	second  Second
	journal *journal.Journal // nil if it cannot be opened
	found   journal.Recovery
	state   *state // nil if it cannot be opened
}

// lockOnly locks a directory, which must be a store's.
func lockOnly(path string) (io.Closer, error) {
	for _, part := range []string{formatFile, "journal", "state"} {
		if _, err := os.Stat(filepath.Join(path, part)); err == nil {
			return journal.Dir(path).Lock()
		}
	}
	return nil, fmt.Errorf("%s is not the directory of a store", path)
}

// view opens the journal name of a store: "journal", or "streams/NAME".
func (o *offline) view(name string) (*journal.Journal, journal.Recovery, error) {
	options := journal.Options{FS: journal.Dir(filepath.Join(o.path, name))}
	if o.second.Path != "" {
		options.Second = journal.Dir(filepath.Join(o.second.Path, name))
	}
	return journal.View(options)
}

// streams returns the names of the journals of streams.
func (o *offline) streams() (names []string) {
	entries, _ := os.ReadDir(filepath.Join(o.path, "streams")) // there may be none
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, "streams/"+e.Name())
		}
	}
	return names
}

// openReadOnly opens a state to be looked at.
func openReadOnly(path string) (*state, error) {
	log := newQuiet()
	var db *pebble.DB
	err := log.catch(func() (err error) {
		events := &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}}
		events.EnsureDefaults(log)
		db, err = pebble.Open(path, &pebble.Options{
			FS: vfs.Default, DisableWAL: true, ReadOnly: true, ErrorIfNotExists: true, FormatMajorVersion: format,
			EventListener: events, Logger: log,
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	s := &state{db: db}
	if err := s.readPlace(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

func (o *offline) close() error {
	var errs []error
	if o.journal != nil {
		errs = append(errs, o.journal.Close())
	}
	if o.state != nil {
		errs = append(errs, o.state.close())
	}
	return errors.Join(append(errs, o.lock.Close())...)
}

// eachRecord calls do for the records of a journal from a place on, and lost for those that cannot be read.
func eachRecord(j *journal.Journal, from journal.Place, do func(journal.Record) error, lost func(*journal.Gap)) error {
	r := j.Reader(from)
	for {
		rec, err := r.Next(ended)
		var gap *journal.Gap
		switch {
		case errors.As(err, &gap):
			lost(gap)
		case errors.Is(err, context.Canceled):
			return nil
		case err != nil:
			return err
		default:
			if err := do(rec); err != nil {
				return err
			}
		}
	}
}

// neighbours says of which devices the operations before and after lost ones are, as far as that can be told.
func neighbours(j *journal.Journal, gap *journal.Gap) string {
	var said []string
	if before := deviceAt(j, gap.From-1); before != "" {
		said = append(said, fmt.Sprintf("the one before is of device %q", before))
	}
	if after := deviceAt(j, gap.To); after != "" {
		said = append(said, fmt.Sprintf("the one after is of device %q", after))
	}
	return strings.Join(said, ", ")
}

// about says what a key of the state is about.
func about(key []byte) string {
	prefix, name, _ := strings.Cut(string(key), "/")
	kind := map[string]string{"r": "session of", "i": "identifiers of", "s": "a subscription of", "q": "queue of", "n": "queue of", "t": "retained", "b": "retained", "v": "value"}[prefix]
	if prefix == "v" && name != "" {
		return fmt.Sprintf("value %q of space %d", name[1:], name[0])
	}
	if kind == "" {
		return fmt.Sprintf("%q", key)
	}
	name, _, _ = strings.Cut(name, "\x00")
	return fmt.Sprintf("%s %q", kind, name)
}

// checkValue returns what is wrong with a value of the state.
func checkValue(key, value []byte) error {
	switch {
	case string(key) == string(keyPlace):
		return nil
	case strings.HasPrefix(string(key), "n/"):
		if len(key) < len("n/")+1+numberBytes {
			return errors.New("its key is cut off")
		}
		_, err := store.ParseOwed(binary.BigEndian.Uint64(key[len(key)-numberBytes:]), value)
		return err
	}
	_, err := store.ParseOp(value)
	return err
}
