package limit

import "time"

// pace is a rate and the burst above it, both as times. A bucket that fills at a constant
// rate is described by the moment at which it is full again: one number, instead of a
// level and the time at which it was measured. This is the virtual scheduling form of the generic cell rate
// algorithm, ITU-T I.371 Annex A.
type pace struct {
	each  float64       // nanoseconds per token; 0 is unlimited
	burst time.Duration // time that a full bucket's tokens take
}

// newPace returns a pace of perSecond tokens per second with room for burst tokens. A perSecond of 0 is unlimited;
// a burst of 0 is one second's tokens.
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

// forever bounds times to 36 years, so that sums of a few do not overflow.
const forever = time.Duration(1 << 60)

// time returns how long n tokens take to arrive.
func (p pace) time(n int) time.Duration {
	return time.Duration(min(float64(n)*p.each, float64(forever)))
}

// full is when a bucket is full again, as time since an origin of the caller's choice. The zero
// value is a full bucket.
type full time.Duration

// take takes n tokens, whether they are there or not.
func (f *full) take(p pace, now time.Duration, n int) {
	*f = full(min(max(time.Duration(*f), now)+p.time(n), now+forever))
}

// wait returns how long it takes until the bucket holds n tokens; 0 if it does already.
func (f full) wait(p pace, now time.Duration, n int) time.Duration {
	return max(0, max(time.Duration(f), now)+p.time(n)-now-p.burst)
}
