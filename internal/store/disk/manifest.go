package disk

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// patientFS are the state's files. pebble ends the process if it cannot write its manifest, the list of its files. So once the store is open,
// what is done to the manifest does not fail: it waits until the disk works. The applier waits with it, and what is acknowledged is in
// the journal.
type patientFS struct {
	vfs.FS
	on    *atomic.Bool // set while it waits
	fault func(error)  // told of each failure, safe from any goroutine
}

// isManifest reports whether pebble's manifest, or the marker that names the newest one, is in a file.
func isManifest(name string) bool {
	return strings.Contains(name, "MANIFEST-")
}

// manifestPause is how long to wait before what failed is tried again.
const manifestPause = 100 * time.Millisecond

// try does something until it succeeds, unless patience is off.
func (p patientFS) try(do func() error) error {
	for {
		err := do()
		if err == nil || !p.on.Load() {
			return err
		}
		p.fault(err)
		time.Sleep(manifestPause)
	}
}

// Create implements vfs.FS, like the methods below.
func (p patientFS) Create(name string, c vfs.DiskWriteCategory) (f vfs.File, err error) {
	if !isManifest(name) {
		return p.FS.Create(name, c)
	}
	err = p.try(func() error {
		f, err = p.FS.Create(name, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &patientFile{File: f, fs: p}, nil
}

func (p patientFS) OpenDir(name string) (f vfs.File, err error) {
	err = p.try(func() error {
		f, err = p.FS.OpenDir(name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return patientDir{f, p}, nil
}

// Unwrap implements vfs.FS.
func (p patientFS) Unwrap() vfs.FS { return p.FS }

// patientDir is a directory whose names are synced with patience.
type patientDir struct {
	vfs.File
	fs patientFS
}

func (d patientDir) Sync() error { return d.fs.try(d.File.Sync) }

// patientFile is a manifest, or a marker. It keeps what was written: after a failed sync nobody knows which of it the disk has, so all is written again.
type patientFile struct {
	vfs.File
	fs patientFS

	mu   sync.Mutex
	all  []byte
	dirt bool // a sync has failed: all must be written again before the next
}

func (f *patientFile) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := int64(len(f.all))
	f.all = append(f.all, b...)
	return len(b), f.fs.try(func() error { return f.writeAt(f.all[at:], at) })
}

func (f *patientFile) writeAt(b []byte, at int64) error {
	_, err := f.File.WriteAt(b, at)
	return err
}

func (f *patientFile) Sync() error { return f.sync(f.File.Sync) }

func (f *patientFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *patientFile) sync(do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fs.try(func() error {
		if f.dirt {
			if err := f.writeAt(f.all, 0); err != nil {
				return err
			}
		}
		err := do()
		f.dirt = err != nil
		return err
	})
}

// SyncTo implements vfs.File. It is only a hint, unless it says that it did more.
func (f *patientFile) SyncTo(int64) (fullSync bool, err error) { return false, nil }
