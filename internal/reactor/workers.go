package reactor

import "sync"

// Workers run what may block, away from the loops: a bounded number at a time, with a
// bounded queue. Its methods are safe from any goroutine.
type Workers struct {
	jobs chan func()
	wg   sync.WaitGroup
}

// NewWorkers starts n workers with a queue of as many jobs as queue says.
func NewWorkers(n, queue int) *Workers {
	w := &Workers{jobs: make(chan func(), queue)}
	for range n {
		w.wg.Go(func() {
			for job := range w.jobs {
				job()
			}
		})
	}
	return w
}

// Do queues a job and reports false when the queue is full. The job brings its result
// back with Loop.Post.
func (w *Workers) Do(job func()) bool {
	select {
	case w.jobs <- job:
		return true
	default:
		return false
	}
}

// Close waits for the queued jobs and ends the workers. Nothing may call Do any more.
func (w *Workers) Close() {
	close(w.jobs)
	w.wg.Wait()
}
