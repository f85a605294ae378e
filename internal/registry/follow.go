package registry

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// Pauses of Follow, besides those of the Discovery.
const (
	firstPause = 100 * time.Millisecond // after a failure, and the least between two answers
	idlePause  = time.Second            // at most, after answers that come at once and say nothing new
	mostPause  = 10 * time.Second       // at most, after failures
	findTime   = 70 * time.Second       // for one answer; registries hold a question for a minute
)

// Follow asks d for the instances until ctx ends. It calls keep with each answer, in the order of the URLs, each once; keep may keep it. It calls
// note after each question with what is wrong: why the set is not known, what is left out of it, or nil. It asks one question at a
// time; d, keep and note are called by this goroutine alone.
func Follow(ctx context.Context, d Discovery, keep func(set []Instance), note func(error)) {
	var last []Instance
	known := false
	failing, idle := backoff{most: mostPause}, backoff{most: idlePause}
	for ctx.Err() == nil {
		begin := time.Now()
		found, err := find(ctx, d)
		if ctx.Err() != nil {
			return
		}
		var pause time.Duration
		if err != nil {
			pause = failing.next()
		} else {
			var set []Instance
			set, err = normal(found)
			if d.Pause() == 0 && known && time.Since(begin) < idlePause && slices.Equal(set, last) {
				pause = idle.next()
			} else {
				idle.reset()
				pause = spread(max(d.Pause(), firstPause))
			}
			failing.reset()
			last, known = set, true
			keep(set)
		}
		note(err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func find(ctx context.Context, d Discovery) ([]Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	return d.Find(ctx)
}

// backoff makes pauses that grow, with full jitter, so that not all nodes ask at once when a registry is back.
type backoff struct {
	most time.Duration
	last time.Duration // without jitter
}

func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, firstPause), b.most)
	return rand.N(b.last)
}

func (b *backoff) reset() { b.last = 0 }

// spread returns 0.9 to 1.1 times d.
func spread(d time.Duration) time.Duration { return d*9/10 + rand.N(d/5+1) }
