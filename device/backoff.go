package device

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Reconnect is the policy of reconnecting. Before each try the device waits a random time up to a bound, which
// is Min at first, doubles with each try, and is at most Max ("full jitter"). So a fleet that lost its gateway
// does not come back as one wave.
//
// If the gateway asks for a delay (Retry-After of a refused upgrade, "retry after 12s"
// in a close reason), the device waits that long instead, and a random part of Min. With several addresses, it leaves alone the one that asked, and
// waits that long only if all have.
type Reconnect struct {
	Min time.Duration // 0 means 2 s
	Max time.Duration // 0 means 30 s
	// MaxTries is how many tries in a row the device makes without a connection that lasts a minute, before it gives up.
	// A try is a round over all addresses. 0 means 10, -1 means no limit.
	MaxTries int
}

// maxDelay bounds the delay that the gateway may ask for.
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

// next returns how long to wait before the next try. asked is the delay that the gateway asked for, or
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
// counts as a failed try.
const held = time.Minute

// ended notes that a connection has ended, which lasted for d.
func (b *backoff) ended(d time.Duration) {
	if d >= held {
		b.tries = 0
	}
}

// askedDelay returns the delay that the gateway asked for in err; 0 means none.
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
