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

// auditFile is the file of the audit log, or standard error. It opens the file again when the name belongs to another
// file, as after a rotation. It counts the lines that it cannot write, and logs the error.
type auditFile struct {
	// Static after construction.
	name   string
	log    *slog.Logger
	stderr io.Writer // instead of a file; nil when there is a file

	// Safe from any goroutine.
	failures atomic.Uint64 // lines that were not written whole

	// Guarded by mu.
	mu   sync.Mutex
	file *os.File
	torn bool // the last line was cut off

	telling rate.Sometimes // paces the log lines about failures
}

// auditPause is the least time between two log lines about failures.
const auditPause = 10 * time.Second

func openAudit(name string, log *slog.Logger) (*auditFile, error) {
	a := newAudit(log)
	a.name = name
	return a, a.reopen()
}

// newAudit returns an auditFile without a destination: the caller sets file or stderr.
func newAudit(log *slog.Logger) *auditFile {
	return &auditFile{log: log, telling: rate.Sometimes{Interval: auditPause}}
}

// reopen opens the file unless the open one still has its name.
func (a *auditFile) reopen() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.follow()
}

// follow is reopen for a caller that has locked a.
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
		return err // the file that is open stays open
	}
	if a.file != nil {
		_ = a.file.Close() // nothing is buffered
	}
	a.file, a.torn = file, false
	return nil
}

// Write implements io.Writer for a slog.Handler, which writes one line at a time and ignores errors.
func (a *auditFile) Write(line []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	behind := a.follow() // after an error the line goes to the file that is open, whatever its name is now
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
	if a.torn { // so that the next line is not part of the one that was cut off
		if _, err := out.Write([]byte("\n")); err != nil {
			return 0, err
		}
		a.torn = false
	}
	n, err := out.Write(line)
	a.torn = err != nil && n > 0
	return n, err
}

// failed counts a failure and logs it. a is locked.
func (a *auditFile) failed(err error) error {
	a.failures.Add(1)
	a.telling.Do(func() {
		a.log.Error("the audit log cannot be written: requests may be missing from it", "file", a.name, "error", err, "lines", a.failures.Load())
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
