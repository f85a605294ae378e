package archtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// needles are texts that belong to one machine and are useless elsewhere. Each
// is split in two, so that this file does not contain it.
var needles = [][2]string{
	{"/wo", "rk/"},
	{"/ro", "ot/"},
	{"/ho", "me/"},
	{"/tmp/", "bash"},
	{"proxy.gol", "ang.org"},
	{"registry.np", "mjs.org"},
	{"files.python", "hosted.org"},
	{"py", "pi.org"},
	{`"resol`, `ved":`},
}

// tracked returns the files that git tracks.
func tracked(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	return strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
}

func TestFilesNameNoMachine(t *testing.T) {
	for _, name := range tracked(t) {
		text, err := os.ReadFile(filepath.Join("../..", name))
		if os.IsNotExist(err) {
			continue // removed and not yet committed
		}
		if err != nil {
			t.Error(err)
			continue
		}
		for _, n := range needles {
			if i := bytes.Index(text, []byte(n[0]+n[1])); i >= 0 {
				t.Errorf("%s:%d holds %q: it means something on one machine only", name, 1+bytes.Count(text[:i], []byte("\n")), n[0]+n[1])
			}
		}
	}
}
