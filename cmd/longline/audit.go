package main

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// auditFile is the file of the audit log. It is opened again when its name is another file's, as after a
// rotation, and says on the log when it cannot be written.
type auditFile struct {
	// Static after construction.
	name string
	log  *slog.Logger

	// Safe from any goroutine.
	failures atomic.Uint64 // lines that are not in it whole

	// Guarded by mu.
	mu   sync.Mutex
	file *os.File
	torn bool      // the last line is not whole
	told time.Time // when a failure was logged last
}

// auditPause is the time between two lines of the log that say the same.
const auditPause = 10 * time.Second

func openAudit(name string, log *slog.Logger) (*auditFile, error) {
	a := &auditFile{name: name, log: log}
	return a, a.reopen()
}

// reopen opens the file unless it is open already.
func (a *auditFile) reopen() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.follow()
}

// follow is reopen. a is locked.
func (a *auditFile) follow() error {
	if a.file != nil {
		open, err1 := a.file.Stat()
		named, err2 := os.Stat(a.name)
		if err1 == nil && err2 == nil && os.SameFile(open, named) {
			return nil
		}
	}
	file, err := os.OpenFile(a.name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err // the open one goes on
	}
	if a.file != nil {
		_ = a.file.Close() // appended to without a buffer
	}
	a.file, a.torn = file, false
	return nil
}

// Write implements io.Writer for a slog.Handler, which writes a line at a time and passes errors over.
func (a *auditFile) Write(line []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.follow(); err != nil {
		return 0, a.failed(err)
	}
	if a.torn { // what comes is not to be part of a line that was cut off
		if _, err := a.file.WriteString("\n"); err != nil {
			return 0, a.failed(err)
		}
		a.torn = false
	}
	n, err := a.file.Write(line)
	if err != nil {
		a.torn = n > 0
		return n, a.failed(err)
	}
	return n, nil
}

// failed counts and tells a failure. a is locked.
func (a *auditFile) failed(err error) error {
	a.failures.Add(1)
	if now := time.Now(); now.Sub(a.told) >= auditPause {
		a.told = now
		a.log.Error("the audit log cannot be written: what is done is not noted", "file", a.name, "error", err, "lines", a.failures.Load())
	}
	return fmt.Errorf("audit log: %w", err)
}

// Close closes the file.
func (a *auditFile) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.Close()
}
