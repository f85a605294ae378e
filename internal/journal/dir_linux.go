package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir returns the directory with that path. Lock makes it if it does not exist.
func Dir(path string) FS { return dir(path) }

type dir string

// lockName is the file whose flock marks the directory as used. It contains the id of the process.
const lockName = "LOCK"

func (d dir) Lock() (io.Closer, error) {
	if err := makeDir(string(d)); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(string(d), lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = control(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if err != nil {
		pid, _ := io.ReadAll(io.LimitReader(f, 20))
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s is in use by process %s", string(d), strings.TrimSpace(string(pid)))
		}
		return nil, fmt.Errorf("lock %s: %w", string(d), err)
	}
	if err := f.Truncate(0); err == nil {
		fmt.Fprintln(f, os.Getpid()) // a full disk does not matter here
	}
	return f, nil
}

// makeDir makes a directory and those above it, unless it exists, and returns when their names are on the disk.
func makeDir(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	above := filepath.Dir(path)
	if err := makeDir(above); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return dir(above).Sync()
}

func (d dir) List() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

func (d dir) Create(name string) (File, error) {
	return d.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (d dir) Open(name string) (File, error) { return d.open(name, os.O_RDWR) }

func (d dir) open(name string, flags int) (File, error) {
	f, err := os.OpenFile(filepath.Join(string(d), name), flags, 0o600)
	if err != nil {
		return nil, err // d.open would make a non-nil File of a nil *os.File
	}
	return file{f}, nil
}

func (d dir) Rename(from, to string) error {
	return os.Rename(filepath.Join(string(d), from), filepath.Join(string(d), to))
}

func (d dir) Remove(name string) error { return os.Remove(filepath.Join(string(d), name)) }

func (d dir) Sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func (d dir) Free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(string(d), &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", string(d), err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// file is an os.File as a File.
type file struct{ *os.File }

func (f file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f file) Allocate(size int64) error {
	err := control(f.File, func(fd int) error { return unix.Fallocate(fd, 0, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil // writing zeroes allocates the space too
	}
	return f.named("allocate", err)
}

func (f file) Sync() error {
	return f.named("fdatasync", control(f.File, unix.Fdatasync))
}

func (f file) named(call string, err error) error {
	if err != nil {
		return &os.PathError{Op: call, Path: f.Name(), Err: err}
	}
	return nil
}

// control makes a system call with a file's descriptor, and repeats it when a signal interrupts it.
func control(f *os.File, call func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		for failed = call(int(fd)); errors.Is(failed, unix.EINTR); {
			failed = call(int(fd))
		}
	})
	return errors.Join(err, failed)
}
