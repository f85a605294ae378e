package journal

import (
	"errors"
	"fmt"
	"slices"
)

// View opens a journal to be looked at: nothing in its directories changes, whatever their state is. Only Reader, First, End, Search, Files
// and Close may be used. FS.Lock is called as by Open.
func View(o Options) (*Journal, Recovery, error) {
	o.FS, o.SecondLeaves = unchanged{o.FS}, true
	if o.Second != nil {
		o.Second = unchanged{o.Second}
	}
	if err := o.fill(); err != nil {
		return nil, Recovery{}, err
	}
	j := newJournal(o)
	var rec Recovery
	err := j.lockDirectories()
	if err == nil {
		j.dirs[0].leaves = true // it gets no spare
		rec, err = j.recover()
	}
	if err != nil {
		return nil, rec, errors.Join(fmt.Errorf("journal: %w", err), j.release())
	}
	close(j.committed)
	for _, d := range j.dirs {
		close(d.prepared)
	}
	j.marked = true
	return j, rec, nil
}

// FileInfo describes a file with records.
type FileInfo struct {
	Name        string
	Second      bool // it is in the second directory
	Size        int64
	First, Next Place // of the records in it, whether they can be read or not
}

// Files returns the files with records, in their order.
func (j *Journal) Files() []FileInfo {
	j.mu.Lock()
	defer j.mu.Unlock()
	files := make([]FileInfo, 0, len(j.segments))
	for i, s := range j.segments {
		next := j.intake.safe
		if i+1 < len(j.segments) {
			next = j.segments[i+1].first
		}
		files = append(files, FileInfo{Name: s.name, Second: s.dir != j.dirs[0], Size: s.size, First: s.first, Next: next})
	}
	return slices.Clip(files)
}

// unchanged is a directory in which nothing changes: what would change it does nothing.
type unchanged struct{ FS }

func (u unchanged) Open(name string) (File, error) {
	f, err := u.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return unchangedFile{f}, nil
}

func (u unchanged) Rename(_, _ string) error { return nil }
func (u unchanged) Remove(string) error      { return nil }
func (u unchanged) Sync() error              { return nil }

type unchangedFile struct{ File }

func (f unchangedFile) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (f unchangedFile) Allocate(int64) error                   { return nil }
func (f unchangedFile) Sync() error                            { return nil }
