package fleet

import (
	"cmp"
	"time"
)

// Backoff is the policy of coming back. After n failed tries in a row a device waits a
// random part of Min doubled n times, at most Max ("full jitter"). A connection that held
// for Max starts the count again.
//
// A delay that the gateway asks for (Retry-After of a refused upgrade, "retry after 12s" in
// a close reason) wins: the device waits that long and a random part of Min.
type Backoff struct {
	Min      time.Duration // 0 is 2 s
	Max      time.Duration // 0 is 30 s
	MaxTries int           // failed tries in a row after which a device gives up: 0 is 10, -1 is never
}

// maxAsked bounds what the gateway may ask for.
const maxAsked = time.Hour

func (b *Backoff) setDefaults() {
	b.Min = cmp.Or(b.Min, 2*time.Second)
	b.Max = cmp.Or(b.Max, 30*time.Second)
	b.MaxTries = cmp.Or(b.MaxTries, 10)
	b.Max = max(b.Max, b.Min)
}

// Wait returns how long to stay away after the given number of failed tries in a row.
// asked is the gateway's own wish, 0 is none; random is uniform in [0, n). ok is false when
// the tries are used up.
func (b Backoff) Wait(tries int, asked time.Duration, random func(n int64) int64) (wait time.Duration, ok bool) {
	if b.MaxTries >= 0 && tries >= b.MaxTries {
		return 0, false
	}
	if asked > 0 {
		return min(asked, maxAsked) + time.Duration(random(int64(b.Min)+1)), true
	}
	ceiling := b.Min
	for i := 0; i < tries && ceiling < b.Max; i++ {
		ceiling *= 2
	}
	return time.Duration(random(int64(min(ceiling, b.Max)) + 1)), true
}
