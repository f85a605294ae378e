package limit

import (
	"fmt"
	"strings"
	"testing"
)

// FuzzFindGroup checks that, whatever /proc contains, the search ends, and looks only below the mounts.
func FuzzFindGroup(f *testing.F) {
	for _, s := range []string{"0::/\n", "0::/pod/box\n", "3:cpu,memory:/docker/abc\n0::/\n", "0::/../..\n", "0::\n", "3:memory:x", "::::\n\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		root := files(map[string]string{
			"proc/self/cgroup":                           text,
			"memory.max":                                 "1\n", // out of bounds
			"sys/fs/cgroup/memory.max":                   "3\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "2\n",
		})
		if g := findGroup(root); g != nil && (g.limit < 2 || !strings.HasPrefix(g.dir, "sys/fs/cgroup")) {
			t.Fatalf("%+v", g)
		}
	})
}

// FuzzParsePrefix checks that what is accepted is text=limit, and stays the same when it is written again.
func FuzzParsePrefix(f *testing.F) {
	for _, s := range []string{"m-=2", "m-", "=1", "m=-1", "a=b=3", "m=02147483647", "m=2147483648"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePrefixes([]string{s})
		if err != nil {
			return
		}
		again, err := ParsePrefixes([]string{fmt.Sprintf("%s=%d", p[0].Text, p[0].Limit)})
		if err != nil || again[0] != p[0] || p[0].Text == "" || p[0].Limit < 0 {
			t.Fatalf("%q: %+v, %v", s, p, err)
		}
	})
}
