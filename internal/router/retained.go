package router

import (
	"context"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// ListRetained returns up to n retained messages that match a valid filter and for which want returns true, in the
// order of their topics, from after the topic after if that is not empty. It locks the store for a bounded number of
// messages at a time.
func (r *Router) ListRetained(ctx context.Context, filter, after string, n int, want func(*message.Message) bool) (list []*message.Message, err error) {
	w := store.Walk{Filter: filter}
	if after != "" {
		w.After(after)
	}
	err = r.eachRetained(ctx, &w, func(m *message.Message) {
		if want(m) {
			list = append(list, m)
		}
		if len(list) == n {
			w.Done = true
		}
	})
	return list[:min(n, len(list))], err
}

// DeleteRetained removes the retained messages that match a valid filter and for which want returns true. It returns
// how many it removed, also with an error.
func (r *Router) DeleteRetained(ctx context.Context, filter string, want func(*message.Message) bool) (deleted int, err error) {
	err = r.eachRetained(ctx, &store.Walk{Filter: filter}, func(m *message.Message) {
		if !want(m) {
			return
		}
		if r.store.Unretain(m) {
			deleted++
		}
	})
	return deleted, err
}

// eachRetained calls do for all messages that w finds. The caller is on no loop.
func (r *Router) eachRetained(ctx context.Context, w *store.Walk, do func(*message.Message)) error {
	room := make([]*message.Message, 0, retainedBatch)
	for !w.Done && ctx.Err() == nil {
		found, _ := r.store.Retained(w, room, retainedLooks, time.Now())
		for _, m := range found {
			do(m)
		}
	}
	return ctx.Err()
}
