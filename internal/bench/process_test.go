package bench

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestProcessOfThisTest(t *testing.T) {
	p := Process(os.Getpid())
	before, err := p.CPU()
	if err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); time.Since(begin) < 20*time.Millisecond; { // work
	}
	after, err := p.CPU()
	if err != nil || after <= before {
		t.Errorf("CPU went from %v to %v, %v", before, after, err)
	}
	if m, err := p.Memory(); err != nil || m < 1<<20 || m > 1<<33 {
		t.Errorf("%d bytes, %v", m, err)
	}
}

func TestProcessThatIsGone(t *testing.T) {
	c := exec.Command("true")
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	p := Process(c.Process.Pid)
	if _, err := p.CPU(); err == nil {
		t.Error("CPU of a process that has ended")
	}
	if _, err := p.FreeMemory(t.Context()); err == nil {
		t.Error("memory of a process that has ended")
	}
	if cpu, err := Process(0).CPU(); cpu != 0 || err != nil {
		t.Errorf("no process: %v, %v", cpu, err)
	}
}

func TestAnonymous(t *testing.T) {
	const rollup = "5560 [rollup]\nRss:  1684 kB\nPss_Anon:  7 kB\nAnonymous:           116 kB\nKSM: 0 kB\n"
	if n, err := anonymous([]byte(rollup)); n != 116<<10 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	for _, bad := range []string{"", "\nAnonymous:", "\nAnonymous: x kB", "\nAnonymous: -1 kB"} {
		if n, err := anonymous([]byte(bad)); err == nil {
			t.Errorf("%q is %d", bad, n)
		}
	}
}

func TestSourcesFollowEachOther(t *testing.T) {
	for n, want := range map[uint32]string{
		0: "127.0.0.1", connsASource - 1: "127.0.0.1", connsASource: "127.0.0.2",
		249 * connsASource: "127.0.0.250", 250 * connsASource: "127.0.0.1",
	} {
		if got := sourceOf(n).String(); got != want {
			t.Errorf("connection %d leaves from %s, want %s", n, got, want)
		}
	}
}
