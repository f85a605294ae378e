package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	promise  = regexp.MustCompile(`(?m)^\| \*\*(.+?)\*\* ?.*\| (.*) \|$`) // its name, and what holds it
	heldBy   = regexp.MustCompile("`([a-z0-9_/]+_test\\.go)` ((?:(?:Test|Fuzz)\\w+(?:, )?)+)")
	testFile = regexp.MustCompile(`_test\.go`)
)

// Every promise in docs/guarantees.md is held by tests that exist.
func TestGuaranteesAreHeld(t *testing.T) {
	text, err := os.ReadFile("../../docs/guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## The table\n")
	table, _, _ = strings.Cut(table, "\n## ")
	rows := promise.FindAllStringSubmatch(table, -1)
	if len(rows) < 20 {
		t.Errorf("%d promises are found", len(rows))
	}
	for _, row := range rows {
		files := heldBy.FindAllStringSubmatch(row[2], -1)
		if len(files) == 0 || len(files) != len(testFile.FindAllString(row[2], -1)) {
			t.Errorf("%s: %d files with tests in %q", row[1], len(files), row[2])
		}
		for _, file := range files {
			for _, name := range strings.Split(file[2], ", ") {
				if !declares(t, file[1], name) {
					t.Errorf("%s: there is no %s in %s", row[1], name, file[1])
				}
			}
		}
	}
}

// declares reports whether a file, which is below internal unless it is in cmd, device or test, has a test.
func declares(t *testing.T, file, name string) bool {
	t.Helper()
	dir := "../../internal"
	switch top, _, _ := strings.Cut(file, "/"); top {
	case "cmd", "device", "test":
		dir = "../.."
	}
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Error(err)
	}
	return strings.Contains(string(text), "\nfunc "+name+"(")
}
