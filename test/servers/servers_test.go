//go:build servers

package servers

import (
	"context"
	"testing"
	"time"
)

func TestOutages(t *testing.T) {
	s := Consul(t)
	answers := func(patience time.Duration) bool {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return s.program.Ready(ctx, s.Port) == nil
	}
	s.Kill()
	if answers(time.Second) {
		t.Error("it answers although it was killed")
	}
	s.Restart()
	s.Stop()
	if answers(time.Second) {
		t.Error("it answers although it was stopped")
	}
	s.Continue()
	if !answers(20 * time.Second) {
		t.Error("it does not go on")
	}
}
