package door

import (
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/wire"
)

// logPause is the time between two log lines of one kind per loop.
const logPause = 10 * time.Second

// LogRefusal logs that a publication or a call was refused; of says which.
func (s *Shard) LogRefusal(l *session.Link, of wire.Op, err *wire.Error) {
	if err.Code != "" && s.logDue(of.String()+err.Code) {
		slog.Warn(of.String()+" refused"+othersLikeIt, "device", l.Session().Device(), "code", err.Code, "reason", err.Reason)
	}
}

// CountFault counts what a device has done wrong that does not end its connection, and logs it. what is a label from a closed set.
func (s *Shard) CountFault(l *session.Link, what, reason string) {
	s.Faults[what]++
	if s.logDue("fault " + what) {
		slog.Warn("a device breaks its protocol"+othersLikeIt, "device", l.Session().Device(), "code", what, "reason", reason)
	}
}

// logDue reports whether a log line of this kind is due: one per logPause and loop. Metrics count all.
func (s *Shard) logDue(kind string) (due bool) {
	line := s.logged[kind]
	if line == nil {
		line = &rate.Sometimes{Interval: logPause}
		s.logged[kind] = line
	}
	line.Do(func() { due = true })
	return due
}

// othersLikeIt ends the text of such a line.
const othersLikeIt = "; for a while, others like it are only counted"

// ordinary are the labels of ends that are not logged, because nothing went wrong, or an operator caused them.
var ordinary = map[string]bool{
	ErrPeerClosed.Label:       true,
	"peer_gone":               true,
	wire.CloseNormal.Label:    true,
	wire.CloseGoingAway.Label: true,
	wire.CloseRestart.Label:   true,
	wire.CloseMoved.Label:     true,
	wire.CloseTakenOver.Label: true,
	wire.CloseKicked.Label:    true,
	wire.CloseRevoked.Label:   true,
}

// logConnection logs that a connection was refused or closed.
func logConnection(what, device string, p devices.Peer, code, reason string) {
	slog.Warn(what+othersLikeIt, "device", device, "address", p.Addr, "protocol", p.Protocol, "code", code, "reason", reason)
}
