package limit

import (
	"testing"
	"testing/quick"
	"time"
	"unsafe"
)

func TestBucketSize(t *testing.T) {
	if n := unsafe.Sizeof(Bucket{}); n != 16 {
		t.Errorf("%d bytes, of which there are 100,000", n)
	}
}

func TestBucket(t *testing.T) {
	a := NewAllowance(DeviceConfig{Messages: 10, MessageBurst: 2, Bytes: 1000, ByteBurst: 500})
	var b Bucket
	start := time.Hour // any origin will do
	for i, tt := range []struct {
		at              time.Duration
		messages, bytes int
		wait            time.Duration
	}{
		{0, 2, 0, 0},                      // the burst
		{0, 1, 0, 100 * time.Millisecond}, // one more than the burst
		{40 * time.Millisecond, 0, 0, 60 * time.Millisecond},       // still in debt
		{100 * time.Millisecond, 0, 0, 0},                          // the debt is paid
		{100 * time.Millisecond, 1, 500, 100 * time.Millisecond},   // messages decide
		{200 * time.Millisecond, 0, 1100, 1000 * time.Millisecond}, // bytes decide: 100 arrived, 1100 were used
		{time.Minute, 2, 500, 0},                                   // no more than the burst accumulates
		{time.Minute, 1, 0, 100 * time.Millisecond},
		{time.Second, 0, 0, 59100 * time.Millisecond}, // a clock that goes back
	} {
		if wait := b.Take(a, start+tt.at, tt.messages, tt.bytes); wait != tt.wait {
			t.Errorf("step %d: wait %v, want %v", i, wait, tt.wait)
		}
	}
}

func TestBucketDefaults(t *testing.T) {
	var b Bucket
	if none := NewAllowance(DeviceConfig{}); !none.Unlimited() || b.Take(none, 0, 1<<40, 1<<40) != 0 || b != (Bucket{}) {
		t.Error("without rates there is a limit")
	}
	a := NewAllowance(DeviceConfig{Bytes: 100})
	if a.Unlimited() || b.Take(a, 0, 1, 100) != 0 || b.Take(a, 0, 1, 1) != 10*time.Millisecond {
		t.Error("without a burst it is not a second's worth")
	}
}

// A device that is not read while it must wait never has more than rate x time + burst + 1.
func TestBucketHoldsTheRate(t *testing.T) {
	const perSecond, burst = 1000, 50
	a := NewAllowance(DeviceConfig{Messages: perSecond, MessageBurst: burst})
	holds := func(gaps []uint16) bool {
		var b Bucket
		var now time.Duration
		taken := 0
		for _, gap := range gaps {
			now += time.Duration(gap) * 100 * time.Nanosecond
			now += b.Take(a, now, 1, 0)
			taken++
			if most := now.Seconds()*perSecond + burst + 1; float64(taken) > most {
				return false
			}
		}
		return true
	}
	if err := quick.Check(holds, nil); err != nil {
		t.Error(err)
	}
}

// An amount that no device can send does not overflow into an unlimited pass.
func TestBucketBearsHugeNumbers(t *testing.T) {
	a := NewAllowance(DeviceConfig{Bytes: 1})
	var b Bucket
	for range 20 {
		if wait := b.Take(a, time.Hour, 1, 1<<62); wait < 1000*time.Hour {
			t.Fatalf("wait %v", wait)
		}
	}
}

func BenchmarkBucket(b *testing.B) {
	a := NewAllowance(DeviceConfig{Messages: 100, Bytes: 10_000})
	var bucket Bucket
	var now time.Duration
	for b.Loop() {
		now += time.Millisecond
		bucket.Take(a, now, 1, 128)
	}
}
