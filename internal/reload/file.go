package reload

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// maxFile is the largest file that Read reads, in bytes.
const maxFile = 64 << 20

// File is the parsed content of a file, as of the last time that it was valid. Safe from any goroutine.
type File[T any] struct {
	// Static after construction.
	name  string
	parse func(text []byte) (T, error)

	// Safe from any goroutine.
	value   atomic.Pointer[T]
	changed atomic.Pointer[func(old, now T)]
}

// Open reads a file; w reads it again when it changes. parse must return a new value
// each time, because others may still use the old one. Errors begin with the file's name.
func Open[T any](w *Watcher, name string, parse func(text []byte) (T, error)) (*File[T], error) {
	f := &File[T]{name: name, parse: parse}
	if err := w.Add(f.load, name); err != nil {
		return nil, err
	}
	return f, nil
}

// OnChange makes f call call after each change, on the goroutine that reads the file.
func (f *File[T]) OnChange(call func(old, now T)) { f.changed.Store(&call) }

// Get returns the current value, which nobody may change.
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

// Read reads a file of at most 64 MiB.
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
