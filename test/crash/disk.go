package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// smallDisk is a file system in memory that can be filled. It is mounted in a mount namespace of this process, so that nobody else sees
// it and nothing of it is left.
type smallDisk struct {
	path string

	mu   sync.Mutex
	full bool
}

const diskSize = 768 << 20

// inNamespace is set in the environment of a process that has a mount namespace of its own.
const inNamespace = "LONGLINE_CRASH_NAMESPACE"

// enterNamespace runs this program again in a mount namespace of its own, and ends with its exit code. In that process it returns.
// Who is not root gets a user namespace as well.
func enterNamespace() error {
	if os.Getenv(inNamespace) != "" {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.Command(self, os.Args[1:]...)
	c.Env = append(os.Environ(), inNamespace+"=1")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	err = c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(max(exit.ExitCode(), 1))
	}
	if err != nil {
		return fmt.Errorf("a mount namespace, for a disk that can be filled: %w; --no-fill runs without", err)
	}
	os.Exit(0)
	return nil
}

// mountDisk mounts an empty disk at path.
func mountDisk(path string) (*smallDisk, error) {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("longline-crash", path, "tmpfs", 0, fmt.Sprintf("size=%d", diskSize)); err != nil {
		return nil, fmt.Errorf("mount a disk: %w", err)
	}
	return &smallDisk{path: path}, nil
}

func (d *smallDisk) filler() string { return filepath.Join(d.path, "filler") }

// fill takes all space that is left.
func (d *smallDisk) fill() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	d.full = true
	for zeroes := make([]byte, 1<<20); err == nil; {
		_, err = f.Write(zeroes)
	}
	if errors.Is(err, syscall.ENOSPC) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// free gives it back.
func (d *smallDisk) free() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = false
	return os.Remove(d.filler())
}

func (d *smallDisk) isFull() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full
}
