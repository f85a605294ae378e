package router

import (
	"context"
	"time"

	"github.com/longline/longline/internal/store"
)

// ListRetained returns up to n retained messages that match a valid filter and for which want returns true, in the
// order of their topics, from after the topic after if that is not empty. Of a large one only the head is there. It locks the store for a bounded number of
// messages at a time.
func (r *Router) ListRetained(ctx context.Context, filter, after string, n int, want func(store.Kept) bool) (list []store.Kept, err error) {
	w := store.Walk{Filter: filter}
	if after != "" {
		w.After(after)
	}
	err = r.eachRetained(ctx, &w, func(k store.Kept) {
		if want(k) {
			list = append(list, k)
		}
		if len(list) == n {
			w.Done = true
		}
	})
	return list[:min(n, len(list))], err
}

// DeleteRetained removes the retained messages that match a valid filter and for which want returns true. It returns
// how many it removed, also with an error.
func (r *Router) DeleteRetained(ctx context.Context, filter string, want func(store.Kept) bool) (deleted int, err error) {
	err = r.eachRetained(ctx, &store.Walk{Filter: filter}, func(k store.Kept) {
		if !want(k) {
			return
		}
		if r.store.Unretain(k) {
			deleted++
		}
	})
	return deleted, err
}

// eachRetained calls do for all messages that w finds. The caller is on no loop.
func (r *Router) eachRetained(ctx context.Context, w *store.Walk, do func(store.Kept)) error {
	room := make([]store.Kept, 0, retainedBatch)
	for !w.Done && ctx.Err() == nil {
		found, _ := r.store.Retained(w, room, retainedLooks, time.Now())
		for _, k := range found {
			do(k)
		}
	}
	return ctx.Err()
}

// readRetained reads a page, and returns how many of its messages are lost. The caller is on no loop.
func (r *Router) readRetained(p *store.Page) (lost int) {
	if err := r.config.Read(p); err != nil {
		p.FailAll(err)
	}
	return r.store.LoadRetained(p)
}
