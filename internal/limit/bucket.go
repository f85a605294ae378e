package limit

import "time"

// Bucket is what one device has used of its Allowance: 16 bytes, without a lock, owned by
// the connection's loop. The zero value is full.
type Bucket struct{ messages, bytes full }

// Allowance is what each device may send; any number of buckets share one. The zero value
// is unlimited.
type Allowance struct{ messages, bytes pace }

// NewAllowance returns what c allows.
func NewAllowance(c DeviceConfig) *Allowance {
	return &Allowance{
		messages: newPace(c.Messages, c.MessageBurst),
		bytes:    newPace(c.Bytes, c.ByteBurst),
	}
}

// Unlimited tells that Take never makes anybody wait.
func (a *Allowance) Unlimited() bool { return a.messages.unlimited() && a.bytes.unlimited() }

// Take charges what the device has sent, which is in the buffer already and so is never
// refused, and answers for how long the device must not be read. 0 is to go on. now is the
// time since any origin, the same at every call.
func (b *Bucket) Take(a *Allowance, now time.Duration, messages, bytes int) (wait time.Duration) {
	return max(b.messages.charge(a.messages, now, messages), b.bytes.charge(a.bytes, now, bytes))
}

// charge takes n tokens and answers how long the bucket owes any.
func (f *full) charge(p pace, now time.Duration, n int) time.Duration {
	if p.unlimited() {
		return 0
	}
	f.take(p, now, n)
	return f.wait(p, now, 0)
}
