package main

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

// The gateway holds against the short form. Other tests run on the same processors at the same time, and an attack of a
// second is mostly its first burst. So this test only looks for stalls; make attack measures the latency.
func TestQuick(t *testing.T) {
	folder := t.TempDir() + "/" // for programs without the race detector, which makes attackers slow
	if out, err := exec.Command("go", "build", "-o", folder, ".", "../../cmd/longline").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), folder+"attack", "--quick", "--devices=200", "--floor=300ms", "--calm=500ms", "--duration=400ms", "--longline="+folder+"longline").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestJudge(t *testing.T) {
	const MiB = 1 << 20
	a := &attack{load: load{proof: []string{`closes_total{reason="contract"}`}, room: 10}, setting: &setting{memory: 100}}
	held := outcome{attack: a, calm: 50 * MiB, peak: 60 * MiB, before: time.Millisecond, at: 9 * time.Millisecond,
		rises: metrics{`longline_closes_total{reason="contract"}`: 1}}
	for name, c := range map[string]struct {
		change func(*outcome)
		missed string // empty if the gateway holds
	}{
		"held":             {func(*outcome) {}, ""},
		"slower":           {func(o *outcome) { o.at++ }, "latency"},
		"calm was slow":    {func(o *outcome) { o.before, o.at = 4*time.Millisecond, 12*time.Millisecond }, ""},
		"memory":           {func(o *outcome) { o.peak++ }, "memory"},
		"less memory":      {func(o *outcome) { o.peak = MiB }, ""},
		"above its limit":  {func(o *outcome) { o.calm, o.peak = 105*MiB, 111*MiB }, "memory above 110 MiB"},
		"no metric":        {func(o *outcome) { o.rises = metrics{`longline_closes_total{reason="rate"}`: 1} }, "metric"},
		"a device is lost": {func(o *outcome) { o.missed = []string{"an honest device"} }, "honest"},
	} {
		o := held
		c.change(&o)
		o.judge(&options{Floor: 3 * time.Millisecond})
		got := strings.Join(o.missed, "; ")
		if (got == "") != (c.missed == "") || !strings.Contains(got, c.missed) {
			t.Errorf("%s: missed %q, want %q", name, got, c.missed)
		}
	}
}

func TestMetrics(t *testing.T) {
	const before = "# HELP longline_x text\nlongline_closes_total{reason=\"contract\"} 2\nlongline_connections 7\ngo_goroutines 9\n"
	const after = "longline_closes_total{reason=\"contract\"} 5\nlongline_closes_total{reason=\"rate\"} 1\n" +
		"longline_handshakes_total{outcome=\"accepted\"} 8\nlongline_connections 6\ngo_goroutines 10\n"
	grown := parse([]byte(after)).above(parse([]byte(before)))
	if got, want := grown.reasons(), "contract 3, rate 1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(grown) != 3 || !grown.any([]string{"x", `closes_total{reason="rate"`}) || grown.any([]string{"connections"}) {
		t.Errorf("grown: %v", grown)
	}
}

// An attack that is to break one rule must not break another one before.
func TestAttacks(t *testing.T) {
	for i := range attacks {
		a := &attacks[i]
		whole := a.conns > 0 && a.starts > 0 && len(a.proof) > 0
		if find(a.name) != a || a.setting == nil || a.room == 0 || a.one == nil && a.try == nil || a.one != nil && !whole {
			t.Errorf("%s is not complete, or there twice", a.name)
		}
	}
	if b := clientHello(); len(b) < 100 || b[0] != 22 { // RFC 8446 §5.1: a handshake record
		t.Errorf("a ClientHello of %d bytes", len(b))
	}
	if got := branching(0b101); got != "+/a/+/a/a/a/+/a/+/a/a/a/+/a" {
		t.Errorf("branching: %s", got)
	}
	if len(bomb()) > 256<<10 {
		t.Errorf("the bomb is %d bytes: it does not get past the size of its frame", len(bomb()))
	}
}

func TestMakerNeedsAnAttack(t *testing.T) {
	if err := (&maker{Attack: "none"}).Run(t.Context()); err == nil {
		t.Error("made")
	}
	o := options{Only: []string{"none"}}
	if err := o.Run(t.Context()); err == nil {
		t.Error("made")
	}
}
