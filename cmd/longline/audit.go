package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// auditFile is the file of the audit log, or standard error. A file is opened again when its name is another
// file's, as after a rotation. What cannot be written is counted, and told on the log.
type auditFile struct {
	// Static after construction.
	name   string
	log    *slog.Logger
	stderr io.Writer // in place of a file; nil for one

	// Safe from any goroutine.
	failures atomic.Uint64 // lines that are not in it whole

	// Guarded by mu.
	mu   sync.Mutex
	file *os.File
	torn bool // the last line is not whole

	telling rate.Sometimes // of failures, on the log
}

// auditPause is the time between two lines of the log that say the same.
const auditPause = 10 * time.Second

func openAudit(name string, log *slog.Logger) (*auditFile, error) {
	a := newAudit(log)
	a.name = name
	return a, a.reopen()
}

// newAudit is for a file or standard error, which has to be set.
func newAudit(log *slog.Logger) *auditFile {
	return &auditFile{log: log, telling: rate.Sometimes{Interval: auditPause}}
}

// reopen opens the file unless it is open already.
func (a *auditFile) reopen() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.follow()
}

// follow is reopen. a is locked.
func (a *auditFile) follow() error {
	if a.stderr != nil {
		return nil
	}
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
	behind := a.follow() // the line is in the file that was open, wherever that is now
	n, err := a.append(line)
	if err = errors.Join(behind, err); err != nil {
		return n, a.failed(err)
	}
	return n, nil
}

// append writes a line. a is locked.
func (a *auditFile) append(line []byte) (int, error) {
	out := a.stderr
	if out == nil {
		out = a.file
	}
	if a.torn { // what comes is not to be part of a line that was cut off
		if _, err := out.Write([]byte("\n")); err != nil {
			return 0, err
		}
		a.torn = false
	}
	n, err := out.Write(line)
	a.torn = err != nil && n > 0
	return n, err
}

// failed counts and tells a failure. a is locked.
func (a *auditFile) failed(err error) error {
	a.failures.Add(1)
	a.telling.Do(func() {
		a.log.Error("the audit log cannot be written as it should: what is done may not be noted", "file", a.name, "error", err, "lines", a.failures.Load())
	})
	return fmt.Errorf("audit log: %w", err)
}

// Close closes the file.
func (a *auditFile) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return nil
	}
	return a.file.Close()
}
