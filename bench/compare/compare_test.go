package main

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/longline/longline/internal/bench"
)

func parse(t *testing.T, args ...string) (options, error) {
	t.Helper()
	var o options
	p, err := kong.New(&o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Parse(args)
	return o, err
}

// The whole program runs, in a small size, with two servers: the floor in C and a peer.
func TestCompare(t *testing.T) {
	bin, out := t.TempDir(), t.TempDir()
	build(t, "cc", "-O2", "-o", filepath.Join(bin, "floor"), "floor/floor.c")
	build(t, "go", "build", "-o", filepath.Join(bin, "peers"), "./peers")
	o, err := parse(t, "--reps=2", "--duration=50ms", "--warmup=10ms", "--many=50", "--few=5", "--load=20", "--rate=500",
		"--rounds=2", "--handshake=20", "--only=floor,gws", "--client-cpu=0", "--bin="+bin, "--out="+out)
	if err != nil {
		t.Fatal(err)
	}
	servers, err := o.servers()
	if err != nil {
		t.Fatal(err)
	}
	table := newTable(&o, servers)
	if err := table.Repeat(o.Reps, io.Discard, func(i int, s *bench.Summary) error { return o.measure(t.Context(), &servers[i], s) }); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := table.write(out, &text); err != nil {
		t.Fatal(err)
	}
	checkFiles(t, out)
	for _, want := range []string{"| times floor", "| times gws", "gws v1."} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, text.String())
		}
	}
}

func build(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func checkFiles(t *testing.T, folder string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(folder, "compare.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got bench.Comparison
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	without := map[string]bool{"floor tls_idle": true, "floor tls_handshake": true, "gws uplink": true}
	for _, s := range got.Servers {
		for _, m := range measures {
			want := 2
			if without[s.Name+" "+m.Key] {
				want = 0
			}
			if n := len(s.Measures[m.Key].Values); n != want {
				t.Errorf("%s: %d values of %s, want %d", s.Name, n, m.Key, want)
			}
		}
	}
	svg, err := os.ReadFile(filepath.Join(folder, "compare.svg"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Count(string(svg), `class="p"`), 6; got != want { // those of the first measures
		t.Errorf("the chart has %d panels, want %d", got, want)
	}
}

func TestServersByName(t *testing.T) {
	o, err := parse(t, "--only=gws,floor")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := o.servers(); err != nil || len(s) != 2 || s[0].name != "floor" {
		t.Errorf("got %v, %v", s, err)
	}
	o.Only = []string{"nonsense"}
	if _, err := o.servers(); err == nil {
		t.Error("took a server that there is not")
	}
	if _, err := parse(t, "--reps=many"); err == nil {
		t.Error("took --reps=many")
	}
}

func TestAServerThatDoesNotStart(t *testing.T) {
	for _, args := range [][]string{{"false"}, {"echo", "nonsense"}, {"/nonexistent"}} {
		s := server{name: "broken", args: args}
		if r, err := s.start(t.Context(), 0); err == nil {
			r.stop()
			t.Errorf("%q started", args)
		}
	}
}
