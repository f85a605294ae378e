package gateway

import (
	"log/slog"
	"time"

	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/wire"
)

// logPause is the time between two lines of the log about refusals of one kind.
const logPause = 10 * time.Second

// logRefusal logs that a publication is refused.
func (s *shard) logRefusal(l *session.Link, err *wire.Error) {
	if err.Code != "" {
		s.logSometimes(err.Code, "a publication is refused", l.Session().Device(), err.Reason)
	}
}

// logSometimes logs one refusal of a code every logPause and loop. Metrics count them all.
func (s *shard) logSometimes(code, what, device, reason string) {
	now := time.Since(s.gateway.guard.start)
	if last, told := s.logged[code]; told && now-last < logPause {
		return
	}
	s.logged[code] = now
	slog.Warn(what+"; others like it are only counted for a while", "device", device, "code", code, "reason", reason)
}
