package limit

import "time"

// pace is a rate and the burst above it, both as times: a bucket that fills at a constant
// rate is told by the moment at which it is full again, which is one number instead of a
// level and when it was so. This is the virtual scheduling form of the generic cell rate
// algorithm, ITU-T I.371 Annex A.
type pace struct {
	each  float64       // nanoseconds a token takes; 0 is unlimited
	burst time.Duration // that a full bucket's tokens take
}

// newPace has perSecond tokens a second and room for burst of them; 0 is unlimited, and a
// second's worth.
func newPace(perSecond, burst int) pace {
	if perSecond <= 0 {
		return pace{}
	}
	if burst <= 0 {
		burst = perSecond
	}
	p := pace{each: float64(time.Second) / float64(perSecond)}
	p.burst = p.time(burst)
	return p
}

func (p pace) unlimited() bool { return p.each == 0 }

// forever bounds times so that sums of a few do not overflow: 36 years.
const forever = time.Duration(1 << 60)

// time is how long n tokens take to come.
func (p pace) time(n int) time.Duration {
	return time.Duration(min(float64(n)*p.each, float64(forever)))
}

// full is when a bucket is full again, in time since an origin of the caller's. The zero
// value is a full bucket.
type full time.Duration

// take takes n tokens, there or not.
func (f *full) take(p pace, now time.Duration, n int) {
	*f = full(min(max(time.Duration(*f), now)+p.time(n), now+forever))
}

// wait is how long it takes until the bucket holds n tokens; 0 is not at all.
func (f full) wait(p pace, now time.Duration, n int) time.Duration {
	return max(0, max(time.Duration(f), now)+p.time(n)-now-p.burst)
}
