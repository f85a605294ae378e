package main

import (
	"io"
	"os"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/disk"
)

// layerFile in the environment names a file. While that contains an error's name, or "slow", the program's disk behaves so.
const layerFile = "LONGLINE_TEST_LAYER"

var layerErrors = map[string]error{"EROFS": syscall.EROFS, "EIO": syscall.EIO, "ENOSPC": syscall.ENOSPC}

// layDisk puts a layer under the program's store, if the environment says so.
func layDisk() {
	file := os.Getenv(layerFile)
	if file == "" {
		return
	}
	step := func() error {
		for {
			text, err := os.ReadFile(file)
			if err != nil || string(text) != "slow" {
				return layerErrors[string(text)]
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	openDisk = func(bounds store.Options, o disk.Options) (*disk.Store, error) {
		o.WrapJournal = func(fs journal.FS) journal.FS { return layer{fs, step} }
		o.WrapState = func(fs vfs.FS) vfs.FS {
			return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
					return nil
				}
				return step()
			}))
		}
		return disk.Open(bounds, o)
	}
}

// layer is a journal's directory in which everything that changes the disk takes a step first.
type layer struct {
	journal.FS
	step func() error
}

func (l layer) Lock() (io.Closer, error) { return l.FS.Lock() }

func (l layer) Create(name string) (journal.File, error) {
	if err := l.step(); err != nil {
		return nil, &os.PathError{Op: "create", Path: name, Err: err}
	}
	return l.wrap(l.FS.Create(name))
}

func (l layer) Open(name string) (journal.File, error) { return l.wrap(l.FS.Open(name)) }

func (l layer) wrap(f journal.File, err error) (journal.File, error) {
	if err != nil {
		return nil, err
	}
	return layerOf{f, l}, nil
}

func (l layer) Rename(from, to string) error {
	if err := l.step(); err != nil {
		return err
	}
	return l.FS.Rename(from, to)
}

func (l layer) Remove(name string) error {
	if err := l.step(); err != nil {
		return err
	}
	return l.FS.Remove(name)
}

func (l layer) Sync() error {
	if err := l.step(); err != nil {
		return err
	}
	return l.FS.Sync()
}

type layerOf struct {
	journal.File
	l layer
}

func (f layerOf) WriteAt(b []byte, at int64) (int, error) {
	if err := f.l.step(); err != nil {
		return 0, &os.PathError{Op: "write", Path: "segment", Err: err}
	}
	return f.File.WriteAt(b, at)
}

func (f layerOf) Sync() error {
	if err := f.l.step(); err != nil {
		return &os.PathError{Op: "sync", Path: "segment", Err: err}
	}
	return f.File.Sync()
}
