package redis

import (
	"slices"
	"sync"
	"time"
)

// lossWindow is how much of what it has answered Redis may lose in a failover or a restart: its log is synced once per second, and its
// replicas are behind by less.
const lossWindow = 3 * time.Second

// recent has what Redis has answered and may lose, so that it can be written again. Its methods are safe from any goroutine.
type recent[T any] struct {
	// Static after construction.
	sure func() time.Time // Link.Sure
	most int              // bytes of all

	mu    sync.Mutex
	all   []answered[T] // in the order of add
	bytes int
	gone  int // that were let go of because of most
}

type answered[T any] struct {
	x    T
	size int
	at   time.Time
}

// add notes x, which Redis has answered just now. If there are more than most bytes, it lets go of the oldest.
func (r *recent[T]) add(x T, size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, answered[T]{x, size, time.Now()})
	r.bytes += size
	r.letGo()
}

// trim lets go of what Redis cannot lose any more.
func (r *recent[T]) trim() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.letGo()
}

// letGo lets go of what Redis cannot lose any more, and of the oldest while there is too much. mu is held.
func (r *recent[T]) letGo() {
	safe := r.sure().Add(-lossWindow)
	n := 0
	for ; n < len(r.all) && (r.all[n].at.Before(safe) || r.bytes > r.most); n++ {
		if !r.all[n].at.Before(safe) {
			r.gone++
		}
		r.bytes -= r.all[n].size
		r.all[n] = answered[T]{}
	}
	if r.all = r.all[n:]; n > cap(r.all) {
		r.all = slices.Clone(r.all) // so that the memory of the others is free
	}
}

// take removes all, and returns them in the order of add. Whoever has written one again adds it again.
func (r *recent[T]) take() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]T, len(r.all))
	for i, a := range r.all {
		all[i] = a.x
	}
	r.all, r.bytes = nil, 0
	return all
}

// lost returns how many were let go of too early, because there were too many.
func (r *recent[T]) lost() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gone
}
