package main

import (
	"strings"
	"testing"
	"time"
)

// The kernel that runs this test has every figure that a run reports about the kernel.
func TestMachine(t *testing.T) {
	k, err := memoryOfKernel()
	if err != nil || k.slab <= 0 || k.tables <= 0 || k.available <= 0 {
		t.Errorf("%+v, %v", k, err)
	}
	if _, err := overflows(); err != nil {
		t.Error(err)
	}
	if l := limits(); !strings.Contains(l, "fs.nr_open=1") || !strings.Contains(l, "net.ipv4.tcp_mem=") {
		t.Errorf("%q", l)
	}
}

func TestNumber(t *testing.T) {
	const text = "Slab:       12 kB\nTCP: inuse 5 mem 7\n"
	for name, want := range map[string]float64{"Slab:": 12, "TCP:": 0, "Other:": 0} {
		if got := number(line([]byte(text), name)); got != want {
			t.Errorf("%s %v, want %v", name, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	o := &options{Devices: 2, Out: t.TempDir(), Name: "x"}
	table := newTable(o)
	p := table.phase("rest")
	p.bar("memory", 700, "B", 768)
	p.bar("CPU", 5, "% of one", 4)
	p.add("lost", 0, "")
	var out strings.Builder
	if err := table.write(o, &out); err != nil {
		t.Fatal(err)
	}
	words := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"| rest | memory | 700 | B | <= 768 |",
		"| | CPU | 5.00 | % of one | above 4.00 |",
		"| | lost | 0 | | |",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
}

// The bar for idle devices is for 100,000 with a heartbeat of 30 s.
func TestRestBar(t *testing.T) {
	for _, tt := range []struct {
		devices int
		beat    time.Duration
		want    float64
	}{{100_000, 30 * time.Second, 4}, {1_000_000, time.Minute, 20}} {
		r := newRun(&options{Devices: tt.devices, Beat: tt.beat})
		if got := r.restBar(); got != tt.want {
			t.Errorf("%d every %v: %v, want %v", tt.devices, tt.beat, got, tt.want)
		}
	}
}
