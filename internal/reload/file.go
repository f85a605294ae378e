package reload

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// maxFile is the largest file that is read, in bytes.
const maxFile = 64 << 20

// File is what parse made of the last good content of a file. Safe from any goroutine.
type File[T any] struct {
	// Static after construction.
	name  string
	parse func(text []byte) (T, error)

	// Safe from any goroutine.
	value   atomic.Pointer[T]
	changed atomic.Pointer[func(old, now T)]
}

// Open reads a file and has w read it again when it changes. parse must return a new value
// each time: others may still use the old one. Errors begin with the file's name.
func Open[T any](w *Watcher, name string, parse func(text []byte) (T, error)) (*File[T], error) {
	f := &File[T]{name: name, parse: parse}
	if err := w.Add(f.load, name); err != nil {
		return nil, err
	}
	return f, nil
}

// OnChange has call called after each change, from the goroutine that reads the file.
func (f *File[T]) OnChange(call func(old, now T)) { f.changed.Store(&call) }

// Get returns the value of the last good content, which nobody may change.
func (f *File[T]) Get() T { return *f.value.Load() }

func (f *File[T]) load() error {
	text, err := Read(f.name)
	if err != nil {
		return err
	}
	value, err := f.parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	old := f.value.Swap(&value)
	if call := f.changed.Load(); call != nil && old != nil {
		(*call)(*old, value)
	}
	return nil
}

// Read reads a file, unless it is larger than what such files have: 64 MiB.
func Read(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, maxFile)
	}
	return io.ReadAll(io.LimitReader(file, maxFile))
}
