package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Process is the id of a process on this machine.
type Process int

// CPU returns the processor time of all threads, including those that have ended, in nanoseconds:
// the sum of the run times in /proc/PID/task/*/schedstat. It is 0 for Process 0.
func (p Process) CPU() (time.Duration, error) {
	if p == 0 {
		return 0, nil
	}
	var t unix.Timespec
	// clock_getcpuclockid(3): the complement of the id, with CPUCLOCK_SCHED.
	clock := int32(^int(p)<<3 | 2)
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", p, err)
	}
	return time.Duration(t.Nano()), nil
}

// Memory returns the resident bytes of the process's own memory: stacks, heap and
// data, without code and mapped files.
func (p Process) Memory() (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p))
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", p, err)
	}
	return anonymous(b)
}

// anonymous finds the line "Anonymous: N kB".
func anonymous(rollup []byte) (uint64, error) {
	_, rest, _ := bytes.Cut(rollup, []byte("\nAnonymous:"))
	line, _, _ := bytes.Cut(rest, []byte("kB"))
	kib, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 10, 54)
	if err != nil {
		return 0, fmt.Errorf("smaps_rollup has no anonymous memory: %w", err)
	}
	return kib << 10, nil
}

const (
	settleStep  = 100 * time.Millisecond
	settleLimit = 10 * time.Second
	restless    = settleStep / 50 // CPU time in a step of a process at rest: Go returns memory at 1%
)

// Rest waits until the process is idle, for settleLimit at most.
func (p Process) Rest(ctx context.Context) error {
	before, err := p.CPU()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(settleLimit); time.Now().Before(deadline); {
		select {
		case <-time.After(settleStep):
		case <-ctx.Done():
			return ctx.Err()
		}
		now, err := p.CPU()
		if err != nil {
			return err
		}
		if now-before < restless {
			return nil
		}
		before = now
	}
	return fmt.Errorf("process %d does not come to rest", p)
}

// FreeMemory sends SIGUSR1 to the process, which then returns free memory to the system, and returns how much memory
// it still has.
func (p Process) FreeMemory(ctx context.Context) (uint64, error) {
	for range 2 { // the second collection frees what the first one finalizes
		if err := unix.Kill(int(p), unix.SIGUSR1); err != nil {
			return 0, fmt.Errorf("signal process %d: %w", p, err)
		}
		if err := p.Rest(ctx); err != nil {
			return 0, err
		}
	}
	return p.Memory()
}
