package reactor

import "sync"

// Workers run what may block, away from the loops: a bounded number at a time, with a
// bounded queue. A worker lives while there are jobs, so that none holds a stack when
// nothing happens. Its methods are safe from any goroutine.
type Workers struct {
	// Static after construction.
	most, room int

	wg sync.WaitGroup // of the workers

	// Guarded by mu.
	mu      sync.Mutex
	running int
	queue   []func()
	refused uint64
}

// NewWorkers allows n workers, and a queue of as many jobs as queue says.
func NewWorkers(n, queue int) *Workers { return &Workers{most: n, room: queue} }

// Do runs a job soon and reports false when the queue is full. The job brings its result
// back with Loop.Post.
func (w *Workers) Do(job func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.running < w.most:
		w.running++
		w.wg.Go(func() { w.work(job) })
	case len(w.queue) < w.room:
		w.queue = append(w.queue, job)
	default:
		w.refused++
		return false
	}
	return true
}

// WorkersStats is how busy Workers are.
type WorkersStats struct {
	Running, Waiting int    // now
	Refused          uint64 // jobs that found the queue full
}

// Stats tells how busy w is.
func (w *Workers) Stats() WorkersStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return WorkersStats{w.running, len(w.queue), w.refused}
}

// work runs a job, and those that wait after it.
func (w *Workers) work(job func()) {
	for job != nil {
		job()
		job = w.next()
	}
}

// next takes the oldest job of the queue. Without one, a worker is over.
func (w *Workers) next() (job func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		w.queue = nil
		w.running--
		return nil
	}
	job, w.queue[0] = w.queue[0], nil
	w.queue = w.queue[1:]
	return job
}

// Close waits for the jobs. Nothing may call Do any more.
func (w *Workers) Close() { w.wg.Wait() }
