package registry

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Pauses of Follow, besides those of the Discovery.
const (
	firstPause = 100 * time.Millisecond // after a failure, and the least between two answers
	idlePause  = time.Second            // at most, after answers that come at once and say nothing new
	mostPause  = 10 * time.Second       // at most, after failures
	findTime   = 70 * time.Second       // for one answer; registries hold a question for a minute
)

// emptyTime is how long an empty answer has to last until it counts. A registry that was restarted without its memory answers so until the
// instances have registered again; and nothing is lost by calling those that were there.
const emptyTime = time.Minute

// errEmpty is what is wrong meanwhile.
var errEmpty = errors.New("all instances have gone from the registry")

// maxProblem bounds the text of an error, in which a registry may have a say, in bytes.
const maxProblem = 500

// Follow asks d for the instances until ctx ends. It calls keep at first and when they have changed, with a set in the order of the URLs, each
// once; nobody changes the set. It calls note after each question with what is wrong: why the set is not known, what is left out of it, or
// nil. It asks one question at a time; d, keep and note are called by this goroutine alone.
func Follow(ctx context.Context, d Discovery, keep func(set []Instance), note func(error)) {
	f := follower{discovery: d, keep: keep, failing: backoff{most: mostPause}, idle: backoff{most: idlePause}}
	for ctx.Err() == nil {
		pause, err := f.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		note(brief(err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// follower is what Follow knows.
type follower struct {
	discovery Discovery
	keep      func(set []Instance)
	failing   backoff
	idle      backoff

	known  bool       // whether there was an answer
	answer []Instance // the last one
	kept   []Instance // what keep has got
	empty  time.Time  // since when answers are empty, while kept is not
}

// ask asks once. It returns how long to wait before the next question, and what is wrong.
func (f *follower) ask(ctx context.Context) (pause time.Duration, err error) {
	begin := time.Now()
	found, err := find(ctx, f.discovery)
	if err != nil {
		return f.failing.next(), err
	}
	f.failing.reset()
	set, err := normal(found)
	same := f.known && slices.Equal(set, f.answer)
	if !f.take(set) {
		err = errEmpty
	}
	f.known, f.answer = true, set
	if f.discovery.Pause() == 0 && same && time.Since(begin) < idlePause {
		return f.idle.next(), err
	}
	f.idle.reset()
	return spread(max(f.discovery.Pause(), firstPause)), err
}

// take gives an answer to keep, if it is new. It reports whether it counts.
func (f *follower) take(set []Instance) bool {
	switch {
	case len(set) > 0 || len(f.kept) == 0:
		f.empty = time.Time{}
	case f.empty.IsZero():
		f.empty = time.Now()
		return false
	case time.Since(f.empty) < emptyTime:
		return false
	}
	if !f.known || !slices.Equal(set, f.kept) {
		f.keep(set)
	}
	f.kept = set
	return true
}

// brief returns err, or the beginning of its text if that is long.
func brief(err error) error {
	if err == nil || len(err.Error()) <= maxProblem {
		return err
	}
	return errors.New(strings.ToValidUTF8(err.Error()[:maxProblem], "") + " ...")
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
