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

// ProcessMemory returns how to read the memory of this process: the resident set against
// the lowest of configured (bytes; 0 is none), GOMEMLIMIT and the machine's memory, or the
// control group's use against its limit, whichever is nearer. What the runtime can give
// back does not count: with a limit set it collects garbage before it exceeds it.
func ProcessMemory(configured int) (func() (Usage, error), error) {
	return processMemory(os.DirFS("/"), int64(configured), debug.SetMemoryLimit(-1), newSpare())
}

// processMemory is ProcessMemory with the files below root, a GOMEMLIMIT (MaxInt64 is
// none), and what tells the bytes that the runtime can give back.
func processMemory(root fs.FS, configured, runtimeLimit int64, spare func() int64) (func() (Usage, error), error) {
	limit, err := machine(root)
	if err != nil {
		return nil, err
	}
	limit = min(limit, runtimeLimit)
	if configured > 0 {
		limit = min(limit, configured)
	}
	group := findGroup(root)
	return func() (Usage, error) {
		used, err := resident(root)
		if err != nil {
			return Usage{}, err
		}
		free := spare()
		u := Usage{max(0, used-free), limit}
		if group == nil {
			return u, nil
		}
		g, err := group.usage(root)
		if err != nil {
			return Usage{}, err
		}
		if g.Used = max(0, g.Used-free); g.share() > u.share() {
			return g, nil
		}
		return u, nil
	}, nil
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

// machine is the memory of the machine; proc_meminfo(5).
func machine(root fs.FS) (int64, error) {
	kilobytes, err := field(root, "proc/meminfo", "MemTotal:")
	if kilobytes <= 0 && err == nil {
		err = errors.New("proc/meminfo: MemTotal is 0")
	}
	return kilobytes * 1024, err
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
