package gateway

import (
	"log/slog"
	"time"

	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/wire"
)

// logPause is the time between two lines of the log about refusals of one kind.
const logPause = 10 * time.Second

// logRefusal logs that a publication is refused: one of its kind every logPause and loop. Metrics count them all.
func (s *shard) logRefusal(l *session.Link, err *wire.Error) {
	if err.Code == "" {
		return
	}
	now := time.Since(s.gateway.guard.start)
	if last, told := s.logged[err.Code]; told && now-last < logPause {
		return
	}
	s.logged[err.Code] = now
	slog.Warn("a publication is refused; others like it are only counted for a while",
		"device", l.Session().Device(), "code", err.Code, "reason", err.Reason)
}
