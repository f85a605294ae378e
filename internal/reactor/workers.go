package reactor

import "sync"

// Workers run what may block, away from the loops: a bounded number at a time, with a
// bounded queue. A worker lives while there are jobs, so that none holds a stack when
// nothing happens. A job that waits for a peer says so with Rest, and others run meanwhile. Its
// methods are safe from any goroutine.
type Workers struct {
	// Static after construction.
	most, room int

	wg sync.WaitGroup // of the workers

	// Guarded by mu.
	mu      sync.Mutex
	running int // more than most at times: who has rested is not kept waiting
	resting int
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
	case w.free():
		w.start(job)
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
	Running, Resting, Waiting int    // now
	Refused                   uint64 // jobs that found the queue full
}

// Stats tells how busy w is.
func (w *Workers) Stats() WorkersStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return WorkersStats{w.running, w.resting, len(w.queue), w.refused}
}

// work runs a job, and those that wait after it.
func (w *Workers) work(job func()) {
	for job != nil {
		job()
		job = w.next()
	}
}

// restsEach is how many jobs may rest for each that may run.
const restsEach = 16

// free tells whether one more job may run. Locked.
func (w *Workers) free() bool { return w.running < w.most && w.resting < restsEach*w.most }

// start runs a job. Locked.
func (w *Workers) start(job func()) {
	w.running++
	w.wg.Go(func() { w.work(job) })
}

// Rest is called by a job that is about to wait for a peer.
func (w *Workers) Rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
	w.resting++
	if len(w.queue) > 0 && w.free() {
		w.start(w.oldest())
	}
}

// Resume is called by a job that has rested, and goes on.
func (w *Workers) Resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resting--
	w.running++
}

// next takes the oldest job of the queue. Without one, or where too many run, a worker is over.
func (w *Workers) next() (job func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 || w.running > w.most {
		w.running--
		return nil
	}
	return w.oldest()
}

// oldest takes a job out of the queue, which is not empty. Locked.
func (w *Workers) oldest() (job func()) {
	job, w.queue[0] = w.queue[0], nil
	if w.queue = w.queue[1:]; len(w.queue) == 0 {
		w.queue = nil
	}
	return job
}

// Close waits for the jobs. Nothing may call Do any more.
func (w *Workers) Close() { w.wg.Wait() }
