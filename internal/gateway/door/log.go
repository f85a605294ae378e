package door

import (
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/wire"
)

// logPause is the time between two lines of the log about refusals of one kind.
const logPause = 10 * time.Second

// LogRefusal logs that a publication is refused.
func (s *Shard) LogRefusal(l *session.Link, err *wire.Error) {
	if err.Code != "" && s.logs(err.Code) {
		slog.Warn("a publication is refused"+othersLikeIt, "device", l.Session().Device(), "code", err.Code, "reason", err.Reason)
	}
}

// logs reports whether a line of this kind is due: one every logPause and loop. Metrics count all.
func (s *Shard) logs(kind string) (due bool) {
	line := s.logged[kind]
	if line == nil {
		line = &rate.Sometimes{Interval: logPause}
		s.logged[kind] = line
	}
	line.Do(func() { due = true })
	return due
}

const othersLikeIt = "; others like it are only counted for a while"

// ordinary are the labels of ends that are not worth a line: nothing went wrong, or whoever did it knows.
var ordinary = map[string]bool{
	ErrPeerClosed.Label:       true,
	"peer_gone":               true,
	wire.CloseNormal.Label:    true,
	wire.CloseGoingAway.Label: true,
	wire.CloseRestart.Label:   true,
	wire.CloseTakenOver.Label: true,
	wire.CloseKicked.Label:    true,
	wire.CloseRevoked.Label:   true,
}

// logConnection logs that a connection is refused or broken off.
func logConnection(what, device string, p devices.Peer, code, reason string) {
	slog.Warn(what+othersLikeIt, "device", device, "address", p.Addr, "protocol", p.Protocol, "code", code, "reason", reason)
}
