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

// process reads its own memory. Not for two goroutines at once.
type process struct {
	root  fs.FS        // of the files
	limit int64        // bytes
	group *group       // nil is none
	spare func() int64 // resident bytes that the runtime can do without
}

// ProcessMemory returns how to read the memory of this process: the resident set against
// the lowest of configured (bytes; 0 is none), GOMEMLIMIT and the machine's memory, or the
// control group's use against its limit, whichever is nearer. What the runtime can do
// without does not count: see LimitRuntime. Not for two goroutines at once.
func ProcessMemory(configured int) (read func() (Usage, error), err error) {
	p := &process{root: os.DirFS("/"), spare: newSpare()}
	return p.read, p.findLimits(int64(configured), debug.SetMemoryLimit(-1))
}

// LimitRuntime has the runtime collect garbage as it comes near limit (bytes), unless
// GOMEMLIMIT says when. Without it garbage may take a process over its limit of which
// less than half is in use.
func LimitRuntime(limit int64) {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// findLimits finds what limits the process. configured is 0 and runtime is MaxInt64 for
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

// read is what ProcessMemory returns.
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

// newSpare returns what tells the resident bytes that the runtime can do without: objects
// beyond those that the last collection found alive, and free pages. Not for two
// goroutines at once.
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

// resident is the second field of statm, in pages; proc_pid_statm(5).
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

// field reads the number after a key of a file whose lines are key and number.
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
