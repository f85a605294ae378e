package reactor

import "sync"

// Workers run jobs that may block, away from the loops: a bounded number at a time, with a
// bounded queue. A worker exists only while there are jobs, so that no stack is kept when
// nothing happens. A job that waits for a peer calls Rest, so that others run meanwhile. The
// methods are safe from any goroutine.
type Workers struct {
	// Static after construction.
	most, room int

	wg sync.WaitGroup // of the workers

	// Guarded by mu.
	mu      sync.Mutex
	running int // sometimes more than most, because Resume does not wait
	resting int
	queue   []func()
	refused uint64
}

// NewWorkers allows n workers, and a queue of that many jobs.
func NewWorkers(n, queue int) *Workers { return &Workers{most: n, room: queue} }

// Do runs a job soon and reports whether it accepted it: not if the queue is full. The job passes its result
// to a loop with Loop.Post.
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

// WorkersStats counts jobs.
type WorkersStats struct {
	Running, Resting, Waiting int    // at present
	Refused                   uint64 // jobs refused because the queue was full
}

// Stats returns how busy w is.
func (w *Workers) Stats() WorkersStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return WorkersStats{w.running, w.resting, len(w.queue), w.refused}
}

// work runs a job, and then jobs from the queue.
func (w *Workers) work(job func()) {
	for job != nil {
		job()
		job = w.next()
	}
}

// restsEach is how many jobs may rest per job that may run.
const restsEach = 16

// free reports whether one more job may run. Locked.
func (w *Workers) free() bool { return w.running < w.most && w.resting < restsEach*w.most }

// start runs a job. Locked.
func (w *Workers) start(job func()) {
	w.running++
	w.wg.Go(func() { w.work(job) })
}

// Rest is called by a job before it waits for a peer.
func (w *Workers) Rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
	w.resting++
	if len(w.queue) > 0 && w.free() {
		w.start(w.oldest())
	}
}

// Resume is called by a job after Rest, when it continues.
func (w *Workers) Resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resting--
	w.running++
}

// next takes the oldest job of the queue. If there is none, or too many run, the worker ends.
func (w *Workers) next() (job func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 || w.running > w.most {
		w.running--
		return nil
	}
	return w.oldest()
}

// oldest takes a job from the queue, which is not empty. Locked.
func (w *Workers) oldest() (job func()) {
	job, w.queue[0] = w.queue[0], nil
	if w.queue = w.queue[1:]; len(w.queue) == 0 {
		w.queue = nil
	}
	return job
}

// Close waits for the jobs. Nobody may call Do any more.
func (w *Workers) Close() { w.wg.Wait() }
