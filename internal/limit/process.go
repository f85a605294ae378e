package limit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
)

// process reads its own memory. One goroutine at a time may use it.
type process struct {
	root  fs.FS        // where the files of proc and sys are
	limit int64        // bytes
	group *group       // nil if no control group has a limit
	spare func() int64 // resident bytes that the runtime can give back
}

// ProcessMemory returns a function that reads the memory of this process: the resident set against
// the lowest of configured (bytes; 0 is none), GOMEMLIMIT and the machine's memory, or the
// control group's use against its limit, whichever is nearer to its limit. Memory that the runtime can give
// back does not count: see LimitRuntime. One goroutine at a time may call read.
func ProcessMemory(configured int) (read func() (Usage, error), err error) {
	p := &process{root: os.DirFS("/"), spare: newSpare()}
	return p.read, p.findLimits(int64(configured), debug.SetMemoryLimit(-1))
}

// LimitRuntime makes the runtime collect garbage as memory comes near limit (bytes), unless
// GOMEMLIMIT is set. Without it, garbage may take a process over its limit when
// less than half of its memory is in use.
func LimitRuntime(limit int64) {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// findLimits finds the limits of the process. A configured of 0 and a runtime of MaxInt64 are
// none.
func (p *process) findLimits(configured, runtime int64) error {
	total, err := field(p.root, "proc/meminfo", "MemTotal:") // proc_meminfo(5): in KiB
	if err != nil {
		return err
	}
	p.limit = min(total*1024, runtime)
	if configured > 0 {
		p.limit = min(p.limit, configured)
	}
	if p.limit <= 0 {
		return errors.New("the machine's memory is 0")
	}
	p.group = findGroup(p.root)
	return nil
}

// read returns the memory in use against the nearest limit; see ProcessMemory.
func (p *process) read() (Usage, error) {
	used, err := resident(p.root)
	if err != nil {
		return Usage{}, err
	}
	spare := p.spare()
	own := Usage{max(0, used-spare), p.limit}
	if p.group == nil {
		return own, nil
	}
	group, err := p.group.usage(p.root)
	group.Used = max(0, group.Used-spare)
	if err == nil && own.share() > group.share() {
		group = own
	}
	return group, err
}

// newSpare returns a function that returns how many resident bytes the runtime can give back: objects
// beyond those that the last collection found alive, and free pages. One goroutine at a time may call
// it.
func newSpare() func() int64 {
	s := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	return func() int64 {
		metrics.Read(s)
		objects, live, free := s[0].Value.Uint64(), s[1].Value.Uint64(), s[2].Value.Uint64()
		return max(0, int64(objects-live)) + int64(free)
	}
}

// resident returns the resident set in bytes, from the second field of statm, in pages; proc_pid_statm(5).
func resident(root fs.FS) (int64, error) {
	text, err := fs.ReadFile(root, "proc/self/statm")
	if err != nil {
		return 0, err
	}
	f := bytes.Fields(text)
	if len(f) < 2 {
		return 0, errors.New("proc/self/statm has no second field")
	}
	pages, err := strconv.ParseInt(string(f[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// field reads the number behind a key in a file with one key and number per line.
func field(root fs.FS, name, key string) (int64, error) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if f := bytes.Fields(line); len(f) >= 2 && string(f[0]) == key {
			return strconv.ParseInt(string(f[1]), 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", name, key)
}

// number reads a file that is one number, or "max".
func number(root fs.FS, name string) (int64, error) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, err
	}
	text = bytes.TrimSpace(text)
	if string(text) == "max" {
		return math.MaxInt64, nil
	}
	return strconv.ParseInt(string(text), 10, 64)
}
