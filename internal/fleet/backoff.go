package fleet

import (
	"cmp"
	"time"
)

// Backoff is the policy of reconnecting. Before each try a device waits a random time up to a bound, which is Min
// at first, doubles with each failed try in a row, and is at most Max ("full jitter"). A connection that lasted
// for Max starts the count again.
//
// If the gateway asks for a delay (Retry-After of a refused upgrade, "retry after 12s" in
// a close reason), the device waits that long instead, and a random part of Min.
type Backoff struct {
	Min      time.Duration // 0 means 2 s
	Max      time.Duration // 0 means 30 s
	MaxTries int           // failed tries in a row after which a device gives up: 0 means 10, -1 means never
}

// maxAsked bounds the delay that the gateway may ask for.
const maxAsked = time.Hour

func (b *Backoff) setDefaults() {
	b.Min = cmp.Or(b.Min, 2*time.Second)
	b.Max = cmp.Or(b.Max, 30*time.Second)
	b.MaxTries = cmp.Or(b.MaxTries, 10)
	b.Max = max(b.Max, b.Min)
}

// Wait returns how long to wait after the given number of failed tries in a row.
// asked is the delay that the gateway asked for, or 0; random is uniform in [0, n). ok is false when
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
