package bench

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Pin moves every thread of this process to one processor. Later threads start there too.
func Pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	for range 2 { // a thread may have started another one meanwhile
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				return err
			}
			if err := unix.SchedSetaffinity(id, &set); err != nil && err != unix.ESRCH {
				return fmt.Errorf("pin to processor %d: %w", cpu, err)
			}
		}
	}
	return nil
}
