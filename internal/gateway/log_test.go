package gateway

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/session"
)

// A refused will is logged with its device, and one of many for a while.
func TestRefusedWillIsLogged(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	c := &mqttDevice{connection: connection{shard: &shard{gateway: &Gateway{guard: &guard{start: time.Now()}}, logged: make(map[string]time.Duration)}}}
	for range 3 {
		_ = c.notAttached("meter-1", fmt.Errorf("%w: not its topic", session.ErrWillNotAllowed))
	}
	line := log.String()
	if strings.Count(line, "\n") != 1 || !strings.Contains(line, "device=meter-1") || !strings.Contains(line, "not its topic") {
		t.Errorf("logged %q", line)
	}
}
