package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// The process returns memory while it is quiet, at most once per minute, and only if it is much.
func TestQuietFreesMemory(t *testing.T) {
	const idle = time.Millisecond
	busy := quietPeriod * time.Duration(runtime.NumCPU()) / 2
	much := usage{live: 8 << 20, free: 4 << 20}
	for _, c := range []struct {
		name string
		cpu  []time.Duration // used in each period
		heap usage
		want int // times that memory is returned
	}{
		{"quiet", []time.Duration{idle, idle, idle}, much, 1},
		{"not long", []time.Duration{idle, idle}, much, 0},
		{"busy", []time.Duration{busy, busy, busy, busy}, much, 0},
		{"busy at times", []time.Duration{idle, idle, busy, idle, busy}, much, 0},
		{"quiet again", []time.Duration{busy, busy, idle, idle}, much, 1},
		{"little", []time.Duration{idle, idle, idle, idle}, usage{live: 1 << 20, free: 1 << 20}, 0},
		{"little of a large heap", []time.Duration{idle, idle, idle, idle}, usage{live: 1 << 30, free: 4 << 20}, 0},
		{"once a minute", []time.Duration{idle, idle, idle, idle, idle, idle, idle, idle, idle}, much, 2},
	} {
		q, now, u, got := quiet{}, time.Unix(1_800_000_000, 0), c.heap, 0
		for _, used := range c.cpu {
			now, u.cpu = now.Add(quietPeriod), u.cpu+used
			if q.frees(now, u) {
				got++
			}
		}
		if got != c.want {
			t.Errorf("%s: returned %d times, want %d", c.name, got, c.want)
		}
	}
}

// measure sees garbage as free memory, and no longer when it was returned.
func TestMeasure(t *testing.T) {
	const garbage = 64 << 20
	b := make([]byte, garbage)
	for i := range b {
		b[i] = 1
	}
	runtime.GC()
	if u := measure(); u.live < garbage || u.cpu <= 0 {
		t.Errorf("in use: %+v", u)
	}
	runtime.KeepAlive(b)
	runtime.GC()
	if u := measure(); u.live > garbage || u.free < garbage/2 {
		t.Errorf("not in use any more: %+v", u)
	}
	debug.FreeOSMemory()
	if u := measure(); u.free > garbage/2 {
		t.Errorf("returned: %+v", u)
	}
}
