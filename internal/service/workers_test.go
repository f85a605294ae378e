package service

import (
	"testing"
	"time"
)

// idleWorkers returns how many workers wait for a job.
func (w *workers) idleWorkers() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.idle)
}

// Jobs run beside each other; workers are used again, are bounded while they are idle, and end when they are idle for long or at the end.
func TestWorkers(t *testing.T) {
	var w workers
	wait := func(want int) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); w.idleWorkers() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d are idle, want %d", w.idleWorkers(), want)
			}
		}
	}
	together := func(n int) {
		t.Helper()
		running, end := make(chan struct{}), make(chan struct{})
		for range n {
			w.do(func() { running <- struct{}{}; <-end })
		}
		for range n {
			<-running
		}
		close(end)
	}
	together(3)
	wait(3)
	together(2)
	wait(3)
	w.sweep(time.Now())
	wait(3)
	w.sweep(time.Now().Add(workerIdleTime + time.Second))
	wait(0)
	together(mostIdleWorkers + 10)
	wait(mostIdleWorkers)
	w.close()
	wait(0)
	together(2)
	wait(0)
}
