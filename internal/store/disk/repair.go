package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/store"
)

// Repair makes a node start again on a store's directory, which no process may use. It sets aside what is spoilt, and tells what is lost with
// it. withoutSecond gives up what is in a second directory that is not there. The error is why the directory is not repaired.
func Repair(path string, withoutSecond bool, tell func(Finding)) error {
	lock, err := lockOnly(path)
	if err != nil {
		return err
	}
	o := &offline{path: path, lock: lock}
	defer func() { _ = lock.Close() }() // what matters was synced
	say := func(part string, bad bool, text string, args ...any) {
		tell(Finding{part, fmt.Sprintf(text, args...), bad})
	}
	if err := repairVersion(path, say); err != nil {
		return err
	}
	if o.second, err = lookForSecond(path); err != nil {
		if !withoutSecond {
			return err
		}
		if err := removeSynced(path, secondFile); err != nil {
			return err
		}
		o.second = Second{}
		say(secondFile, true, "the second directory is given up, with what was in it")
	}
	found, err := o.repairJournal("journal", say)
	if err != nil {
		return err
	}
	if err := o.repairState(found, say); err != nil {
		return err
	}
	for _, name := range o.streams() {
		if _, err := o.repairJournal(name, say); err != nil {
			return err
		}
	}
	return nil
}

// repairVersion writes the file FORMAT again if it cannot be read. That of a newer program stays.
func repairVersion(path string, say sayer) error {
	err := readVersion(path)
	if err == nil || errors.Is(err, errNewer) {
		return err
	}
	say(formatFile, true, "%v; it is written again", err)
	return replaceFile(path, formatFile, formatText)
}

// repairJournal opens a journal as a start does, which sets aside what cannot be read, and tells what is lost.
func (o *offline) repairJournal(name string, say sayer) (journal.Recovery, error) {
	j, _, err := o.view(name)
	if err != nil {
		return journal.Recovery{}, fmt.Errorf("%s: %w", name, err)
	}
	size := int64(0)
	if files := j.Files(); len(files) > 0 {
		size = files[len(files)-1].Size
	}
	if err := j.Close(); err != nil {
		return journal.Recovery{}, err
	}
	options := journal.Options{FS: journal.Dir(filepath.Join(o.path, name)), SegmentSize: size}
	if o.second.Path != "" {
		options.Second, options.SecondLeaves = journal.Dir(filepath.Join(o.second.Path, name)), true
	}
	j, found, err := journal.Open(options)
	if err != nil {
		return found, fmt.Errorf("%s: %w", name, err)
	}
	err = eachRecord(j, j.First(), func(journal.Record) error { return nil }, func(g *journal.Gap) {
		say(name, true, "%s lost%s", spanIs(g.From, g.To), o.near(name, j, g))
	})
	reportFound(name, found, say)
	return found, errors.Join(err, j.Close())
}

// repairState makes a state that can be read and that belongs to the journal.
func (o *offline) repairState(found journal.Recovery, say sayer) error {
	path := filepath.Join(o.path, "state")
	place, err := o.rebuildState(path, say)
	if err != nil {
		return err
	}
	var wanted journal.Place
	switch err := fits(place, found); {
	case err == nil:
		return nil
	case place > found.End:
		wanted = found.End
		say("state", true, "it knows operations up to %d, and the journal ends at %d: those of another time, between the two, may be missing in it", place, found.End)
	default:
		wanted = found.First
		say("state", true, "it knows operations up to %d, and the journal begins at %d: those between are lost", place, found.First)
	}
	s, err := openState(path, vfs.Default, new(store.RetainedLimits), new(pebble.EventListener), func(error) {})
	if err != nil {
		return err
	}
	b := s.batch()
	defer b.close()
	b.next = wanted
	return errors.Join(s.apply(b), s.flush(), s.close())
}

// rebuildState copies what can be read of a state that is spoilt into a new one, and sets the old one aside. It returns up to where the
// operations of the journal are in the state.
func (o *offline) rebuildState(path string, say sayer) (journal.Place, error) {
	old, err := openReadOnly(path)
	if err != nil {
		aside, err2 := setAsideState(path)
		if err2 != nil {
			return 0, err2
		}
		say("state", true, "it cannot be opened (%v), and is lost: it is set aside as %s, and made again from the operations that the journal has", err, aside)
		return 1, nil
	}
	bad := false
	salvage(old.db, func(key, value []byte) { bad = bad || checkValue(key, value) != nil }, func(_, _ []byte, _ error) { bad = true })
	if !bad && old.db.CheckLevels(nil) == nil {
		return old.place, old.close()
	}
	fresh := path + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return 0, errors.Join(err, old.close())
	}
	s, err := openState(fresh, vfs.Default, new(store.RetainedLimits), new(pebble.EventListener), func(error) {})
	if err != nil {
		return 0, errors.Join(err, old.close())
	}
	b := s.batch()
	b.next = old.place
	salvage(old.db, func(key, value []byte) {
		if err := checkValue(key, value); err != nil {
			say("state", true, "the %s is lost: %v", about(key), err)
			return
		}
		if b.set(bytes.Clone(key), value); b.b.Len() > applyAtOnce {
			err = errors.Join(err, s.apply(b))
			b.close()
			b = s.batch()
			b.next = old.place
		}
	}, func(from, to []byte, why error) { say("state", true, "%s: %v", lostKeys(from, to), why) })
	err = errors.Join(err, s.apply(b), s.flush())
	b.close()
	place := old.place
	if err = errors.Join(err, s.close(), old.close()); err != nil {
		return 0, err
	}
	aside, err := setAsideState(path)
	if err != nil {
		return 0, err
	}
	say("state", false, "what can be read is in a new state; the old one is set aside as %s", aside)
	if err := os.Rename(fresh, path); err != nil {
		return 0, err
	}
	return place, journal.Dir(o.path).Sync()
}

// setAsideState renames the directory of a state, if there is one, and returns its new name.
func setAsideState(path string) (string, error) {
	aside := path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000")
	err := os.Rename(path, aside)
	if errors.Is(err, fs.ErrNotExist) {
		return "nothing", nil
	}
	return filepath.Base(aside), errors.Join(err, journal.Dir(filepath.Dir(path)).Sync())
}

// salvage calls do for each key that can be read, in order, and lost for each range of keys that cannot: after from, before to; each nil if that is the
// beginning or the end. Behind what cannot be read it goes on at the next place at which one of the state's tables begins or ends.
func salvage(db *pebble.DB, do func(key, value []byte), lost func(from, to []byte, err error)) {
	bounds := tableBounds(db)
	var last, next []byte // the last key that was read; where to begin
	for {
		err := scan(db, next, func(key, value []byte) {
			last = append(last[:0], key...)
			do(key, value)
		})
		if err == nil {
			return
		}
		i, _ := slices.BinarySearchFunc(bounds, max(string(last)+"\x00", string(next)+"\x00"), func(b []byte, at string) int { return strings.Compare(string(b), at) })
		for ; i < len(bounds) && !readable(db, bounds[i]); i++ {
		}
		if i == len(bounds) {
			lost(bytes.Clone(last), nil, err)
			return
		}
		lost(bytes.Clone(last), bounds[i], err)
		next = bounds[i]
	}
}

// scan calls do for each key from a place on, until one cannot be read.
func scan(db *pebble.DB, from []byte, do func(key, value []byte)) (err error) {
	i, err := db.NewIter(&pebble.IterOptions{LowerBound: from, KeyTypes: pebble.IterKeyTypePointsOnly})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.Close()) }()
	for i.First(); i.Valid(); i.Next() {
		value, err := i.ValueAndErr()
		if err != nil {
			return err
		}
		do(i.Key(), value)
	}
	return i.Error()
}

// readable reports whether reading can go on at a key.
func readable(db *pebble.DB, key []byte) bool {
	i, err := db.NewIter(&pebble.IterOptions{LowerBound: key, KeyTypes: pebble.IterKeyTypePointsOnly})
	if err != nil {
		return false
	}
	i.First()
	return i.Close() == nil
}

// tableBounds returns the first and last keys of the state's tables, in order.
func tableBounds(db *pebble.DB) (bounds [][]byte) {
	levels, err := db.SSTables()
	if err != nil {
		return nil
	}
	for _, level := range levels {
		for _, t := range level {
			bounds = append(bounds, bytes.Clone(t.Smallest.UserKey), bytes.Clone(t.Largest.UserKey))
		}
	}
	slices.SortFunc(bounds, bytes.Compare)
	return bounds
}

// lostKeys says which keys are between two.
func lostKeys(from, to []byte) string {
	text := "what is"
	if len(from) > 0 {
		text += " behind the " + about(from)
	}
	if to != nil {
		text += " before the " + about(to)
	}
	return text + " cannot be read"
}
