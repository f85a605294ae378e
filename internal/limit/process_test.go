package limit

import (
	"maps"
	"math"
	"os"
	"testing"
	"testing/fstest"
)

func files(list map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, text := range list {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return root
}

const none = math.MaxInt64

func TestProcessMemory(t *testing.T) {
	page := int64(os.Getpagesize())
	const mib = 1 << 20
	alone := map[string]string{
		"proc/meminfo":    "MemTotal:       1048576 kB\nMemFree:  1 kB\n",
		"proc/self/statm": "9999 1000 10 5 0 123 0\n",
	}
	for _, tt := range []struct {
		name                string
		files               map[string]string
		configured, runtime int64
		spare               int64
		want                Usage
	}{
		{"the machine", nil, 0, none, 0, Usage{1000 * page, 1024 * mib}},
		{"configured", nil, 100 * mib, none, 0, Usage{1000 * page, 100 * mib}},
		{"GOMEMLIMIT", nil, 100 * mib, 50 * mib, 0, Usage{1000 * page, 50 * mib}},
		{"spare", nil, 0, none, 10 * page, Usage{990 * page, 1024 * mib}},
		{"more to spare than there is", nil, 0, none, none, Usage{0, 1024 * mib}},
		{"version 2 in a container", map[string]string{
			"proc/self/cgroup":             "0::/\n",
			"sys/fs/cgroup/memory.max":     "104857600\n",
			"sys/fs/cgroup/memory.current": "52428800\n",
			"sys/fs/cgroup/memory.stat":    "anon 1\ninactive_file 10485760\n",
		}, 0, none, mib, Usage{39 * mib, 100 * mib}},
		{"version 2, the group around it is tighter", map[string]string{
			"proc/self/cgroup":                   "0::/pod/box\n",
			"sys/fs/cgroup/pod/box/memory.max":   "max\n",
			"sys/fs/cgroup/pod/memory.max":       "104857600\n",
			"sys/fs/cgroup/pod/memory.current":   "94371840\n",
			"sys/fs/cgroup/pod/memory.stat":      "inactive_file 0\n",
			"sys/fs/cgroup/memory.max":           "209715200\n",
			"sys/fs/cgroup/memory.current":       "0\n",
			"sys/fs/cgroup/pod/box/memory.stat":  "inactive_file 0\n",
			"sys/fs/cgroup/pod/box/memory.other": "",
		}, 0, none, 0, Usage{90 * mib, 100 * mib}},
		{"version 1 in a container", map[string]string{
			"proc/self/cgroup":                           "4:cpu,cpuacct:/\n3:memory:/docker/abc\n0::/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "104857600\n",
			"sys/fs/cgroup/memory/memory.usage_in_bytes": "52428800\n",
			"sys/fs/cgroup/memory/memory.stat":           "inactive_file 1\ntotal_inactive_file 2097152\n",
		}, 0, none, 0, Usage{50*mib - 2*mib, 100 * mib}},
		{"version 1 without a limit", map[string]string{
			"proc/self/cgroup":                           "3:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 0, none, 0, Usage{1000 * page, 1024 * mib}},
		{"the process is nearer to its limit than the group", map[string]string{
			"proc/self/cgroup":             "0::/\n",
			"sys/fs/cgroup/memory.max":     "104857600\n",
			"sys/fs/cgroup/memory.current": "1048576\n",
			"sys/fs/cgroup/memory.stat":    "inactive_file 0\n",
		}, 1001 * page, none, 0, Usage{1000 * page, 1001 * page}},
	} {
		all := maps.Clone(alone)
		maps.Copy(all, tt.files)
		p := &process{root: files(all), spare: func() int64 { return tt.spare }}
		if err := p.findLimits(tt.configured, tt.runtime); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got, err := p.read(); err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v; want %+v", tt.name, got, err, tt.want)
		}
	}
}

func TestProcessMemoryErrors(t *testing.T) {
	for _, meminfo := range []string{"", "MemTotal: 0 kB", "MemTotal: x kB"} {
		p := &process{root: files(map[string]string{"proc/meminfo": meminfo})}
		if err := p.findLimits(0, none); err == nil {
			t.Errorf("%q is a limit of %d", meminfo, p.limit)
		}
	}
	for _, statm := range []string{"", "1", "1 x"} {
		p := &process{root: files(map[string]string{"proc/self/statm": statm}), limit: 1, spare: func() int64 { return 0 }}
		if u, err := p.read(); err == nil {
			t.Errorf("%q is %+v", statm, u)
		}
	}
}

// The process's own memory is read, and what it holds counts.
func TestProcessMemoryOfThisProcess(t *testing.T) {
	read, err := ProcessMemory(1 << 40)
	if err != nil {
		t.Fatal(err)
	}
	u, err := read()
	if err != nil || u.Used < 1<<20 || u.Used > u.Limit {
		t.Errorf("%+v, %v", u, err)
	}
}
