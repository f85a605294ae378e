package limit

import (
	"io/fs"
	"path"
	"strings"
)

// controller is one version of control groups: where its files are and how they are named.
type controller struct {
	mount, limit, used string
	inactive           string // key in memory.stat of the page cache that the kernel reclaims first
}

var (
	// Linux Documentation/admin-guide/cgroup-v2.rst, "Memory Interface Files".
	cgroup2 = controller{"sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"}
	// Linux Documentation/admin-guide/cgroup-v1/memory.rst §5.2.
	cgroup1 = controller{"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"}
)

// group is the control group that limits the process's memory.
type group struct {
	controller
	dir   string // under the root
	limit int64  // bytes
}

// findGroup returns the group with the lowest limit, the process's own or one around it;
// nil if none has a limit.
func findGroup(root fs.FS) (lowest *group) {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return nil // no control groups
	}
	for line := range strings.Lines(string(text)) {
		c, dir, ok := parseGroup(strings.TrimSpace(line))
		for ok {
			if g := c.group(root, dir); g != nil && (lowest == nil || g.limit < lowest.limit) {
				lowest = g
			}
			ok = dir != "/"
			dir = path.Dir(dir) // in a container the mount may be the group itself
		}
	}
	return lowest
}

// group returns the group at that path if it has a limit.
func (c controller) group(root fs.FS, dir string) *group {
	dir = path.Join(c.mount, dir)
	limit, err := number(root, path.Join(dir, c.limit))
	if err != nil || limit <= 0 || limit >= unlimited {
		return nil
	}
	return &group{c, dir, limit}
}

// unlimited is where limits end: version 1 has a number near 2^63 for none.
const unlimited = 1 << 60

// parseGroup reads a line id:controllers:path; cgroups(7). ok is false when the group does not
// control memory.
func parseGroup(line string) (c controller, dir string, ok bool) {
	_, rest, _ := strings.Cut(line, ":")
	controllers, dir, _ := strings.Cut(rest, ":")
	if !strings.HasPrefix(dir, "/") {
		return c, dir, false
	}
	dir = path.Clean(dir) // the path of a group outside of the namespace begins with /..
	if controllers == "" {
		return cgroup2, dir, true
	}
	for name := range strings.SplitSeq(controllers, ",") {
		if name == "memory" {
			return cgroup1, dir, true
		}
	}
	return c, dir, false
}

// usage returns the memory of g and the groups below it, without the page cache that the
// kernel would reclaim first.
func (g *group) usage(root fs.FS) (Usage, error) {
	used, err := number(root, path.Join(g.dir, g.used))
	if err != nil {
		return Usage{}, err
	}
	inactive, err := field(root, path.Join(g.dir, "memory.stat"), g.inactive)
	return Usage{max(0, used-inactive), g.limit}, err
}
