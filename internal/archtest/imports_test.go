// Package archtest checks rules that the compiler does not know: which package may import which, what may block, and what no file
// may contain.
package archtest

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/longline/longline/"

// public are the floors of the public packages, which DESIGN.md's table does not number: generated code, and the SDK, which
// imports only codecs.
var public = map[string]int{
	"proto/longline/v1":                   0,
	"proto/longline/v1/longlinev1connect": 0,
	"device":                              2,
}

// floors are those of DESIGN.md's table. A package may import packages of lower floors, and those of its own floor that beside
// names.
var floors = design()

func readDesign() string {
	text, err := os.ReadFile("../../DESIGN.md")
	if err != nil {
		panic(err)
	}
	return string(text)
}

func design() map[string]int {
	all := maps.Clone(public)
	row := regexp.MustCompile("(?m)^\\| (\\d+) \\| `([a-z/]+)` \\|")
	for _, cells := range row.FindAllStringSubmatch(readDesign(), -1) {
		all[cells[2]], _ = strconv.Atoi(cells[1])
	}
	return all
}

// beside are the imports within a floor that DESIGN.md lists as exceptions.
var beside = exceptions()

func exceptions() map[string][]string {
	all := make(map[string][]string)
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\| `([a-z0-9/]+)` \\|")
	for _, cells := range row.FindAllStringSubmatch(readDesign(), -1) {
		all[cells[1]] = append(all[cells[1]], cells[2])
	}
	return all
}

// ban is a rule about particular imports.
type ban struct {
	where  []string // packages
	what   []string // imports; one that ends with / stands for all packages below it
	reason string
}

var below = []string{
	"internal/message", "internal/topic", "internal/reactor", "internal/websocket",
	"internal/wire", "internal/wire/mqtt", "internal/wire/ocpp", "internal/store", "internal/store/disk", "internal/journal", "internal/router", "internal/command", "internal/devices", "internal/session",
	"internal/gateway/door", "internal/gateway/ws", "internal/gateway/mqtt", "internal/gateway/ocpp",
}

var bans = []ban{
	{below, []string{"github.com/prometheus/", "go.opentelemetry.io/"},
		"no package below gateway knows Prometheus or OpenTelemetry: packages have counters, gateway exports them"},
	{below, []string{"net/http", "connectrpc.com/"},
		"no package below gateway knows HTTP servers or RPC"},
	{append(below, "internal/gateway", "internal/api", "internal/fleet", "internal/bench"), []string{"github.com/goccy/go-yaml"},
		"only config reads the file: options are plain fields with tags"},
	{[]string{"internal/message", "internal/topic", "internal/websocket", "internal/jsontext", "internal/wire", "internal/wire/mqtt", "internal/wire/ocpp"},
		[]string{"net", "os", "syscall", "golang.org/x/sys/"},
		"codecs and data do no I/O: bytes in, bytes out"},
	{append(below, "internal/gateway", "internal/fleet"), []string{"os/exec", "plugin", "cgo", "C"},
		"packages that serve connections start no programs and are pure Go"},
	{[]string{"device"}, []string{module + "internal/reactor", module + "internal/session", module + "internal/router", module + "internal/store"},
		"the SDK builds on every platform and carries no gateway"},
	{[]string{"internal/api"}, []string{module + "internal/gateway", module + "internal/reactor", module + "internal/session"},
		"the API sees devices and the gateway through interfaces of its own: a device may be on another node"},
}

// nameless are package names that say nothing.
var nameless = []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "types"}

// listed is what `go list -json` says about a package.
type listed struct {
	ImportPath string
	Name       string
	Imports    []string
}

// list returns the packages of the module, without their tests.
func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p listed
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module)
		all = append(all, p)
	}
	return all
}

// breaches returns the rules that an import of a package breaks.
func breaches(from, to string) (list []string) {
	if inside, ok := strings.CutPrefix(to, module); ok {
		list = append(list, floorBreach(from, inside)...)
	}
	for _, b := range bans {
		if contains(b.where, from) && contains(b.what, to) {
			list = append(list, b.reason)
		}
	}
	return list
}

func floorBreach(from, to string) []string {
	above, ok := floors[from]
	if !ok {
		return nil // tests and their helpers have no floor
	}
	under, ok := floors[to]
	switch {
	case !ok:
		return []string{"shipped packages do not import test packages"}
	case under < above, contains(beside[from], to):
		return nil
	}
	return []string{"imports run downwards only; the way back is an interface that the lower package declares"}
}

// contains reports whether rules name s.
func contains(rules []string, s string) bool {
	for _, r := range rules {
		if s == r || strings.HasSuffix(r, "/") && strings.HasPrefix(s, r) {
			return true
		}
	}
	return false
}

func TestImports(t *testing.T) {
	for _, p := range list(t) {
		for _, to := range p.Imports {
			for _, why := range breaches(p.ImportPath, to) {
				t.Errorf("%s imports %s: %s", p.ImportPath, to, why)
			}
		}
	}
}

func TestEveryPackageHasAFloor(t *testing.T) {
	outside := []string{"internal/archtest", "internal/store/storetest", "internal/journal/journaltest", "internal/registry/registrytest", "internal/sink/sinktest", "internal/bridge/bridgetest", "bench/sinks", "bench/bridge", "bench/cluster", "test/"}
	seen, imports := make(map[string]bool), make(map[string]bool)
	for _, p := range list(t) {
		for _, to := range p.Imports {
			imports[p.ImportPath+" "+strings.TrimPrefix(to, module)] = true
		}
		seen[p.ImportPath] = true
		if _, ok := floors[p.ImportPath]; !ok && !contains(outside, p.ImportPath) {
			t.Errorf("%s is on no floor: add it to DESIGN.md's table", p.ImportPath)
		}
		if contains(nameless, path.Base(p.ImportPath)) || contains(nameless, p.Name) {
			t.Errorf("%s: the name says nothing; name the package after what it provides", p.ImportPath)
		}
	}
	for from, all := range beside {
		for _, to := range all {
			if !imports[from+" "+to] {
				t.Errorf("DESIGN.md lists %s as an exception, which imports no %s", from, to)
			}
		}
	}
	for name := range floors {
		if !seen[name] {
			t.Errorf("%s has a floor but is not there", name)
		}
	}
}

// TestBreaches checks that the rules refuse what they should.
func TestBreaches(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		breaks   bool
	}{
		{"internal/session", module + "internal/router", false},
		{"internal/router", module + "internal/session", true},
		{"internal/topic", module + "internal/message", false},
		{"internal/message", module + "internal/topic", true},
		{"internal/store", module + "internal/wire", true}, // the same floor
		{"internal/session", module + "internal/store/storetest", true},
		{"internal/session", "github.com/prometheus/client_golang/prometheus", true},
		{"internal/gateway", "github.com/prometheus/client_golang/prometheus", false},
		{"internal/gateway", module + "internal/gateway/door", false},
		{"internal/gateway/mqtt", module + "internal/gateway/ws", false},
		{"internal/gateway/door", module + "internal/gateway/ws", true},
		{"internal/gateway/ws", "github.com/prometheus/client_golang/prometheus", true},
		{"internal/wire", "net", true},
		{"internal/wire", "net/url", false},
		{"internal/wire/mqtt", "net", true},
		{"internal/wire", "golang.org/x/sys/unix", true},
		{"internal/reactor", "golang.org/x/sys/unix", false},
		{"internal/gateway", "github.com/goccy/go-yaml", true},
		{"internal/config", "github.com/goccy/go-yaml", false},
		{"internal/api", module + "internal/session", true},
		{"device", module + "internal/wire", false},
		{"device", module + "internal/reactor", true},
		{"proto/longline/v1/longlinev1connect", module + "proto/longline/v1", false},
		{"test/interop", module + "device", false},
	} {
		if why := breaches(tt.from, tt.to); (len(why) > 0) != tt.breaks {
			t.Errorf("%s imports %s: got %q", tt.from, tt.to, why)
		}
	}
}
