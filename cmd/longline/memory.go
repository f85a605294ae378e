package main

import (
	"os"
	"os/signal"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// freeMemoryOnSignal has each SIGUSR1 return free memory to the system, until stop is
// called: who measures wants to know what is in use.
func freeMemoryOnSignal() (stop func()) {
	free := make(chan os.Signal, 1)
	signal.Notify(free, unix.SIGUSR1)
	go func() {
		for range free {
			debug.FreeOSMemory()
		}
	}()
	return func() {
		signal.Stop(free)
		close(free)
	}
}
