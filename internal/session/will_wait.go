package session

import (
	"slices"
	"sync"
	"time"

	"github.com/longline/longline/internal/message"
)

// tryWillsEvery is how often wills that wait for the store are tried again.
const tryWillsEvery = time.Second

// waitingWills are wills that became due while the store could make nothing safe: nobody else can send them again, as a publisher does that is
// refused. The store has those of sessions that are kept as orphans, so a later life of the node publishes what waits at the end of this one.
// There are at most as many as sessions are allowed; the account counts them.
type waitingWills struct {
	most  int            // static
	again func(...event) // publishes some; static

	trying sync.WaitGroup // try, while it publishes

	// Guarded by mu, under which nothing else is locked.
	mu      sync.Mutex
	list    []event
	timer   *time.Timer // nil while none waits
	stopped bool
}

// add keeps a will, and reports whether it did. If not, there are too many, or the node ends and the store does not have this one.
func (w *waitingWills) add(e *event) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.stopped:
		return e.orphan != ""
	case len(w.list) >= w.most:
		return false
	}
	w.list = append(w.list, *e)
	if w.timer == nil {
		w.timer = time.AfterFunc(tryWillsEvery, w.try)
	}
	return true
}

// try publishes all again. Those that have to wait still come back.
func (w *waitingWills) try() {
	w.mu.Lock()
	list := w.list
	w.list, w.timer = nil, nil
	if !w.stopped {
		w.trying.Add(1)
		defer w.trying.Done()
	}
	w.mu.Unlock()
	w.again(list...)
}

// stop ends the waiting, and returns when nobody tries any more: those that the store has stay there, the others are tried for the last time.
func (w *waitingWills) stop() {
	left := w.close()
	w.trying.Wait()
	w.again(left...)
}

// close makes no will be tried any more, and returns those that waited and that no later life tries.
func (w *waitingWills) close() (left []event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
	left = slices.DeleteFunc(w.list, func(e event) bool { return e.orphan != "" })
	w.list, w.timer = nil, nil
	return left
}

// willWaits reports whether the router would refuse a will because the store fails, if somebody receives it.
func (m *Manager) willWaits(will *message.Message) bool {
	return (will.QoS > message.AtMostOnce || will.Retain) && m.store.Err() != nil
}
