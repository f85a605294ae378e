package main

import (
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSchedule(t *testing.T) {
	if !reflect.DeepEqual(schedule(7, time.Hour, true), schedule(7, time.Hour, true)) {
		t.Error("two schedules of one seed differ")
	}
	for seed := range uint64(1000) {
		kills, full := 0, false
		var last time.Duration
		for _, s := range schedule(seed, 10*time.Minute, true) {
			if s.at < last {
				t.Fatalf("seed %d: %v comes after %v", seed, s.at, last)
			}
			last = s.at
			switch s.do {
			case kill:
				kills += 1 + len(s.also)
			case stop:
				kills += len(s.also)
			case fill, free:
				if full == (s.do == fill) {
					t.Fatalf("seed %d: the disk is filled or freed twice at %v", seed, s.at)
				}
				full = s.do == fill
			}
		}
		if kills < 60 || full {
			t.Errorf("seed %d: %d kills, full at the end: %v", seed, kills, full)
		}
	}
}

// A short run that forgets an arrival finds this loss, and nothing else.
func TestRun(t *testing.T) {
	folder := t.TempDir() + "/" // for programs without the race detector
	if out, err := exec.Command("go", "build", "-o", folder, ".", "../../cmd/longline").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), folder+"crash", "--longline="+folder+"longline",
		"--duration=5s", "--devices=12", "--no-fill", "--drop=100").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "\nlost 1, out of order 0, unwanted 0, faults 0\n\nlost: ") {
		t.Errorf("an arrival was forgotten: %v\n%s", err, out)
	}
}
