package limit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

var errDown = errors.New("down")

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker("webhook", BreakerConfig{Failures: 2, Pause: time.Second})
		calls := 0
		step := func(what string, call, want error, state BreakerState) {
			t.Helper()
			err := b.Do(func() error { calls++; return call })
			if !errors.Is(err, want) || b.State() != state {
				t.Errorf("%s: %v and %v, want %v and %v", what, err, b.State(), want, state)
			}
		}
		left := fmt.Errorf("post: %w", context.Canceled)
		step("first failure", errDown, errDown, BreakerClosed)
		step("success", nil, nil, BreakerClosed)
		step("failure after success", errDown, errDown, BreakerClosed)
		step("nobody waits", left, left, BreakerClosed)
		step("second in a row", errDown, errDown, BreakerOpen)
		step("refused", nil, Open, BreakerOpen)
		time.Sleep(time.Second + 1)
		if b.State() != BreakerHalfOpen || b.State().String() != "half_open" {
			t.Errorf("after the pause it is %v", b.State())
		}
		step("failed probe", context.DeadlineExceeded, context.DeadlineExceeded, BreakerOpen)
		time.Sleep(time.Second + 1)
		step("probe", nil, nil, BreakerClosed)
		if got, want := b.Stats(), (BreakerStats{Successes: 2, Failures: 4, Refused: 1, Opened: 2}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		if calls != 7 {
			t.Errorf("%d calls, want 7: one was refused", calls)
		}
	})
}

func TestBreakers(t *testing.T) {
	var all Breakers
	store := all.Get("store", BreakerConfig{Failures: 1})
	all.Get("auth", BreakerConfig{})
	if all.Get("store", BreakerConfig{}) != store {
		t.Error("a name has two breakers")
	}
	_ = store.Do(func() error { return errDown })
	var names []string
	for b := range all.Each {
		names = append(names, b.Name()+" "+b.State().String())
	}
	if want := []string{"auth closed", "store open"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}
