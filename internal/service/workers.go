package service

import (
	"slices"
	"sync"
	"time"
)

// workers run the calls of a service. Goroutines that have ended a call wait for the next one for a while, because the stack of a new
// one has to grow in each call. All methods are safe from any goroutine.
type workers struct {
	mu     sync.Mutex
	idle   []*worker // the one that worked last is at the end
	closed bool
}

// worker is a goroutine that may wait for a job.
type worker struct {
	jobs chan func() // has room for one, which is sent to idle workers only
	idle time.Time   // since when; guarded by workers.mu
}

const (
	mostIdleWorkers = 256              // of a service
	workerIdleTime  = 20 * time.Second // after which an idle worker ends
)

// do runs job at once, on another goroutine.
func (w *workers) do(job func()) {
	if free := w.take(); free != nil {
		free.jobs <- job
		return
	}
	go w.run(job)
}

// take returns the worker that has become idle last, nil if there is none.
func (w *workers) take() (last *worker) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.idle) - 1
	if n < 0 {
		return nil
	}
	last, w.idle[n] = w.idle[n], nil
	w.idle = w.idle[:n]
	return last
}

// run is a worker: it runs job, and then those that it gets while it is idle.
func (w *workers) run(job func()) {
	me := &worker{jobs: make(chan func(), 1)}
	me.jobs <- job
	for job := range me.jobs {
		job()
		if !w.rest(me) {
			return
		}
	}
}

// rest makes a worker idle, and reports whether it may wait for a job.
func (w *workers) rest(me *worker) bool {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.idle) >= mostIdleWorkers {
		return false
	}
	me.idle = now
	w.idle = append(w.idle, me)
	return true
}

// sweep ends workers that have been idle for long.
func (w *workers) sweep(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for n < len(w.idle) && now.Sub(w.idle[n].idle) > workerIdleTime {
		close(w.idle[n].jobs)
		n++
	}
	w.idle = slices.Delete(w.idle, 0, n)
}

// close ends idle workers, and those that become idle.
func (w *workers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, each := range w.idle {
		close(each.jobs)
	}
	w.idle = nil
}
