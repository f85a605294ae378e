package device

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Reconnect is the policy of coming back. Before try n the device waits a random part of
// Min doubled n-1 times, at most Max ("full jitter"), so that a fleet that lost its gateway
// does not return as one wave.
//
// A delay that the gateway asks for (Retry-After of a refused upgrade, "retry after 12s"
// in a close reason) wins: the device waits that long and a random part of Min.
type Reconnect struct {
	Min time.Duration // 0 is 2 s
	Max time.Duration // 0 is 30 s
	// MaxTries in a row without a connection that held for a minute make the device give up:
	// 0 is 10, -1 is never.
	MaxTries int
}

// maxDelay bounds what the gateway may ask for.
const maxDelay = time.Hour

func (r *Reconnect) setDefaults() {
	if r.Min <= 0 {
		r.Min = 2 * time.Second
	}
	if r.Max <= 0 {
		r.Max = 30 * time.Second
	}
	r.Max = max(r.Max, r.Min)
	if r.MaxTries == 0 {
		r.MaxTries = 10
	}
}

// backoff counts tries.
type backoff struct {
	policy Reconnect
	random func(n int64) int64 // uniform in [0, n)
	tries  int
}

func newBackoff(p Reconnect) *backoff { return &backoff{policy: p, random: rand.Int64N} }

// next returns how long to wait before the next try; asked is the gateway's own wish, or
// 0. It returns false when the tries are used up.
func (b *backoff) next(asked time.Duration) (time.Duration, bool) {
	if b.policy.MaxTries >= 0 && b.tries >= b.policy.MaxTries {
		return 0, false
	}
	ceiling := b.policy.Min
	for i := 0; i < b.tries && ceiling < b.policy.Max; i++ {
		ceiling *= 2
	}
	b.tries++
	if asked > 0 {
		return min(asked, maxDelay) + b.jitter(b.policy.Min), true
	}
	return b.jitter(min(ceiling, b.policy.Max)), true
}

func (b *backoff) jitter(ceiling time.Duration) time.Duration {
	return time.Duration(b.random(int64(ceiling) + 1))
}

// held is how long a connection must last to start the count of tries again: a shorter one
// was no better than a failed try.
const held = time.Minute

// ended notes that a connection ended that lasted for d.
func (b *backoff) ended(d time.Duration) {
	if d >= held {
		b.tries = 0
	}
}

// askedDelay is the delay that err carries from the gateway; 0 is none.
func askedDelay(err error) time.Duration {
	var s *StatusError
	if errors.As(err, &s) {
		return s.RetryAfter
	}
	return 0
}

// parseRetryAfter reads a Retry-After field, RFC 9110 §10.2.3: seconds or a date.
func parseRetryAfter(field string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(field, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(field); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}
