package mqtt

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// statements are the marks of each standard's appendix B: a section, and how many statements
// are numbered in it. In one the numbers begin with 2.
var statements = map[string]string{
	"MQTT 5": `1.5.4:3 1.5.5:1 1.5.7:1 2.1.3:1 2.2.1:2-6 2.2.2:1
		3.1.0:2 3.1.2:30 3.1.3:12 3.1.4:6 3.2.0:2 3.2.2:22 3.3.1:13 3.3.2:20 3.3.4:10 3.4.2:3 3.5.2:3
		3.6.1:1 3.6.2:3 3.7.2:3 3.8.1:1 3.8.3:5 3.8.4:8 3.9.2:2 3.9.3:2 3.10.1:1 3.10.3:2 3.10.4:6
		3.11.2:2 3.11.3:2 3.12.4:1 3.14.0:1 3.14.1:1 3.14.2:4 3.14.4:3 3.15.1:1 3.15.2:3
		4.1.0:2 4.2.0:1 4.3.1:1 4.3.2:5 4.3.3:13 4.4.0:2 4.5.0:2 4.6.0:6 4.7.0:1 4.7.1:2 4.7.2:1 4.7.3:4
		4.8.2:6 4.9.0:3 4.12.0:7 4.12.1:2 4.13.1:1 4.13.2:1 6.0.0:4`,
	"MQTT 3.1.1": `1.5.3:3 2.2.2:2 2.3.1:7
		3.1.0:2 3.1.2:24 3.1.3:11 3.1.4:5 3.2.0:1 3.2.2:6 3.3.1:12 3.3.2:3 3.3.4:1 3.3.5:2 3.6.1:1
		3.8.1:1 3.8.3:4 3.8.4:6 3.9.3:2 3.10.1:1 3.10.3:2 3.10.4:6 3.12.4:1 3.14.1:1 3.14.4:3
		4.1.0:2 4.3.1:1 4.3.2:2 4.3.3:2 4.4.0:1 4.5.0:2 4.6.0:6 4.7.1:3 4.7.2:1 4.7.3:4 4.8.0:2
		6.0.0:4 7.0.0:2 7.1.1:1 7.1.2:1`,
}

// marks returns the marks of a standard.
func marks(t *testing.T, standard string) (all []string) {
	t.Helper()
	for _, section := range strings.Fields(statements[standard]) {
		section, numbers, _ := strings.Cut(section, ":")
		var first, last int
		if n, _ := fmt.Sscanf(numbers, "%d-%d", &first, &last); n == 1 {
			first, last = 1, first
		}
		for i := first; i <= last; i++ {
			all = append(all, fmt.Sprintf("MQTT-%s-%d", section, i))
		}
	}
	return all
}

// places are the directories of tests, by the prefix of their name.
var places = map[string]string{
	"":        ".",
	"codec":   "../../internal/wire/mqtt",
	"session": "../../internal/session",
	"topic":   "../../internal/topic",
}

// tests returns the names of a package's tests.
func tests(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}

var (
	row      = regexp.MustCompile(`(?m)^\| (MQTT-[0-9.]+-[0-9]+) \| (.+) \| (.+) \|$`)
	testName = regexp.MustCompile(`(?:([a-z]+)\.)?\b((?:Test|Fuzz)[A-Z]\w*)`)
)

// TestDocs: docs/mqtt.md has each statement once, with tests that exist or a reason.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/mqtt.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]map[string]bool{}
	for word, dir := range places {
		known[word] = tests(t, dir)
	}
	for standard, count := range map[string]int{"MQTT 5": 251, "MQTT 3.1.1": 141} {
		_, section, _ := strings.Cut(string(text), "\n### "+standard+"\n")
		section, _, _ = strings.Cut(section, "\n### ")
		seen := map[string]int{}
		for _, cells := range row.FindAllStringSubmatch(section, -1) {
			mark, heldBy := cells[1], cells[3]
			seen[mark]++
			names := testName.FindAllStringSubmatch(heldBy, -1)
			if len(names) == 0 && !strings.HasPrefix(heldBy, "client") && !strings.HasPrefix(heldBy, "not applicable: ") {
				t.Errorf("%s %s: neither a test nor a reason: %q", standard, mark, heldBy)
			}
			for _, n := range names {
				if !known[n[1]][n[2]] {
					t.Errorf("%s %s: there is no %s", standard, mark, n[0])
				}
			}
		}
		want := marks(t, standard)
		if len(want) != count || len(seen) != count {
			t.Errorf("%s: %d marks, %d in the table, want %d", standard, len(want), len(seen), count)
		}
		for _, mark := range want {
			if seen[mark] != 1 {
				t.Errorf("%s: %s is there %d times", standard, mark, seen[mark])
			}
		}
	}
}

var cited = regexp.MustCompile(`(?:\[|")(3\.1\.1 )?(MQTT-[0-9.]+-[0-9]+)(?:\]|")`)

// TestCitations: the marks in the code exist in their standard.
func TestCitations(t *testing.T) {
	legal := map[string]bool{}
	for _, mark := range marks(t, "MQTT 5") {
		legal[mark] = true
	}
	for _, mark := range marks(t, "MQTT 3.1.1") {
		legal["3.1.1 "+mark] = true
	}
	for _, pattern := range []string{"*.go", "../../internal/*/*.go", "../../internal/wire/mqtt/*.go", "../mqttdiff/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files, %v", pattern, err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range cited.FindAllSubmatch(text, -1) {
				if mark := string(m[1]) + string(m[2]); !legal[mark] {
					t.Errorf("%s cites %s, which is no statement", name, mark)
				}
			}
		}
	}
}
