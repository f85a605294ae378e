package device

import (
	"errors"
	"testing"
	"time"

	"github.com/longline/longline/internal/wire"
)

// most is a random source that always draws the largest value.
func most(n int64) int64 { return n - 1 }

func testBackoff(p Reconnect, random func(int64) int64) *backoff {
	p.setDefaults()
	return &backoff{policy: p, random: random}
}

func TestBackoffDoubles(t *testing.T) {
	b := testBackoff(Reconnect{}, most)
	for i, want := range []int{2, 4, 8, 16, 30, 30, 30, 30, 30, 30} {
		got, ok := b.next(0)
		if !ok || got != time.Duration(want)*time.Second {
			t.Errorf("try %d: %v, %v; want %d s", i+1, got, ok, want)
		}
	}
	if _, ok := b.next(0); ok {
		t.Error("an 11th try was allowed")
	}
}

func TestBackoffFullJitter(t *testing.T) {
	b := testBackoff(Reconnect{}, func(int64) int64 { return 0 })
	if got, _ := b.next(0); got != 0 {
		t.Errorf("the smallest draw waits %v, want 0", got)
	}
	var asked int64
	b.random = func(n int64) int64 { asked = n; return 0 }
	b.next(0)
	if want := int64(4*time.Second) + 1; asked != want {
		t.Errorf("the second draw is below %d, want %d", asked, want)
	}
}

func TestBackoffUnlimited(t *testing.T) {
	b := testBackoff(Reconnect{MaxTries: -1}, most)
	for range 1000 {
		if got, ok := b.next(0); !ok || got > 30*time.Second {
			t.Fatalf("next = %v, %v", got, ok)
		}
	}
}

func TestBackoffGatewayWins(t *testing.T) {
	b := testBackoff(Reconnect{}, func(int64) int64 { return 0 })
	for _, tt := range []struct{ asked, want time.Duration }{
		{time.Minute, time.Minute},
		{time.Second, time.Second},
		{100 * time.Hour, maxDelay},
	} {
		if got, _ := b.next(tt.asked); got != tt.want {
			t.Errorf("asked for %v, waits %v, want %v", tt.asked, got, tt.want)
		}
	}
	b.random = most
	if got, _ := b.next(time.Minute); got != 62*time.Second {
		t.Errorf("the largest draw after a minute is %v, want 62 s", got)
	}
}

func TestBackoffStartsAgain(t *testing.T) {
	for _, tt := range []struct {
		held time.Duration
		want time.Duration
	}{
		{59 * time.Second, 8 * time.Second},
		{60 * time.Second, 2 * time.Second},
	} {
		b := testBackoff(Reconnect{}, most)
		b.next(0)
		b.next(0)
		b.ended(tt.held)
		if got, _ := b.next(0); got != tt.want {
			t.Errorf("after a connection of %v the wait is %v, want %v", tt.held, got, tt.want)
		}
	}
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for field, want := range map[string]time.Duration{
		"":                              0,
		"7":                             7 * time.Second,
		"-7":                            0,
		"soon":                          0,
		"Sun, 22 Nov 2026 12:00:09 GMT": 9 * time.Second,
		"Sun, 22 Nov 2026 11:00:00 GMT": 0,
	} {
		if got := parseRetryAfter(field, now); got != want {
			t.Errorf("%q: %v, want %v", field, got, want)
		}
	}
}

func TestParseReason(t *testing.T) {
	for reason, want := range map[string]time.Duration{
		"":                0,
		"retry after 12s": 12 * time.Second,
		"the node is drained; Retry after 500ms.": 500 * time.Millisecond,
		"overload (retry after 1m30s) please":     90 * time.Second,
		"retry after -5s":                         0,
		"retry after 12":                          0,
		"retry after":                             0,
		"try again later":                         0,
	} {
		if got := wire.AskedDelay(reason); got != want {
			t.Errorf("%q: %v, want %v", reason, got, want)
		}
	}
}

func FuzzDelays(f *testing.F) {
	f.Add("retry after 12s")
	f.Add("Sun, 22 Nov 2026 12:00:09 GMT")
	f.Add("retry after 9999999h)")
	f.Add("99999999999")
	f.Fuzz(func(t *testing.T, s string) {
		err := &StatusError{RetryAfter: wire.AskedDelay(s)}
		if parseRetryAfter(s, time.Now()) < 0 || err.RetryAfter < 0 {
			t.Fatalf("%q: a negative delay", s)
		}
		if wait, ok := newBackoff(Reconnect{Min: 1, Max: 1, MaxTries: 1}).next(askedDelay(errors.Join(err))); !ok || wait > maxDelay+1 {
			t.Fatalf("%q: next = %v, %v", s, wait, ok)
		}
	})
}
