package limit

import "time"

// Bucket holds what one device has used of its Allowance: 16 bytes, without a lock, owned by
// the connection's loop. The zero value is a full bucket.
type Bucket struct{ messages, bytes full }

// Allowance is how much a device may send; any number of buckets share one. The zero value
// is unlimited.
type Allowance struct{ messages, bytes pace }

// NewAllowance returns the allowance that c configures.
func NewAllowance(c DeviceConfig) *Allowance {
	return &Allowance{
		messages: newPace(c.Messages, c.MessageBurst),
		bytes:    newPace(c.Bytes, c.ByteBurst),
	}
}

// Unlimited reports whether Take always returns 0.
func (a *Allowance) Unlimited() bool { return a.messages.unlimited() && a.bytes.unlimited() }

// Take charges for what the device sent, which is in the buffer already and so is never
// refused, and returns for how long the connection must not be read; 0 means not at all. now is the
// time since any origin, the same at every call.
func (b *Bucket) Take(a *Allowance, now time.Duration, messages, bytes int) (wait time.Duration) {
	return max(b.messages.charge(a.messages, now, messages), b.bytes.charge(a.bytes, now, bytes))
}

// charge takes n tokens and returns how long it takes until the bucket is out of debt.
func (f *full) charge(p pace, now time.Duration, n int) time.Duration {
	if p.unlimited() {
		return 0
	}
	f.take(p, now, n)
	return f.wait(p, now, 0)
}
