package pump

import (
	"errors"
	"testing"
	"time"
)

func TestPatience(t *testing.T) {
	var p Patience
	now, wrong := time.Now(), errors.New("wrong password")
	for _, step := range []struct {
		pass  time.Duration
		renew bool
		stops bool
	}{
		{0, false, false},
		{59 * time.Second, false, false},
		{2 * time.Second, true, false},
		{59 * time.Second, false, false},
		{time.Second, false, true},
		{time.Second, false, false}, // resumed
		{59 * time.Second, false, false},
		{time.Second, false, true},
	} {
		if now = now.Add(step.pass); step.renew {
			p.Renew()
		}
		if err := p.Misconfigured(wrong, now); IsMisconfigured(err) != step.stops || !errors.Is(err, wrong) {
			t.Errorf("%+v: %v", step, err)
		}
	}
}
