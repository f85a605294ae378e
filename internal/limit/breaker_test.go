package limit

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestBreaker(t *testing.T) {
	errDown, errNo := errors.New("down"), errors.New("no")
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker("webhook", 2, time.Second, func(err error) bool { return errors.Is(err, errDown) })
		step := func(what string, answer error, state string) {
			t.Helper()
			ran := false
			err := b.Do(func() error { ran = true; return answer })
			if !ran || !errors.Is(err, answer) || b.State() != state {
				t.Errorf("%s: ran %v, %v, and is %s, want %s", what, ran, err, b.State(), state)
			}
		}
		refused := func(when string) {
			t.Helper()
			if err := b.Do(func() error { t.Errorf("%s: a call goes through", when); return nil }); err == nil {
				t.Errorf("%s: no error", when)
			}
		}
		step("first failure", errDown, "closed")
		step("an answer", errNo, "closed")
		step("failure after an answer", errDown, "closed")
		step("second in a row", errDown, "open")
		refused("open")
		time.Sleep(time.Second + 1)
		if b.State() != "half-open" || b.Name() != "webhook" {
			t.Errorf("after the pause %s is %s", b.Name(), b.State())
		}
		step("failed try", errDown, "open")
		time.Sleep(time.Second + 1)
		_ = b.Do(func() error { refused("while one tries"); return nil })
		step("after a good try", nil, "closed")
	})
}

// Callers that do not wait for the answer neither keep the breaker closed nor close it.
func TestBreakerCanceled(t *testing.T) {
	errDown := errors.New("down")
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker("webhook", 2, time.Second, func(err error) bool { return errors.Is(err, errDown) })
		for _, err := range []error{errDown, context.Canceled, errDown} {
			_ = b.Do(func() error { return err })
		}
		if b.State() != "open" {
			t.Errorf("it is %s after two failures and a call that was canceled between them", b.State())
		}
		time.Sleep(time.Second + 1)
		_ = b.Do(func() error { return context.Canceled })
		if b.State() != "half-open" {
			t.Errorf("it is %s after a try that was canceled", b.State())
		}
		if _ = b.Do(func() error { return nil }); b.State() != "closed" {
			t.Errorf("it is %s after the next try, which succeeded", b.State())
		}
	})
}
