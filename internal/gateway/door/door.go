// Package door lets devices in, whatever protocol they speak, and holds them to the node's bounds while they are
// there: the way in (entrance.go), who they are (admission.go, credential.go), what protects the node (limits.go), and what
// all their connections have (conn.go).
//
// A protocol has a type that embeds Conn and is a Handler. It reads the handshake, has an Entrance decide, and calls
// AfterPacket and AfterRead.
package door

import (
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
)

// Config is what a Door is told. The gateway's options, whose defaults are set, have the words for it.
type Config struct {
	Insecure         bool
	MaxConnections   int
	MaxPayload       int
	HeaderBytes      int
	UnverifiedBytes  int
	HandshakeTimeout time.Duration
	Heartbeat        time.Duration
	HeartbeatTimeout time.Duration
	MessageTimeout   time.Duration
	PendingBytes     int
	Limits           limit.Config
	Account          *message.Account // nil is not bounded
	Auth             *auth.Chain      // nil knows no device
	Observer         Observer         // nil is none

	Usage func() (limit.Usage, error) // of memory; nil is the process's
	Slice time.Duration               // of a loop's time for one device; 0 is slice
}

// Door is what a node's connections share. Its methods are safe from any goroutine.
type Door struct {
	// Static after construction.
	Config   Config
	Router   *router.Router
	Sessions *session.Manager

	admission *admission
	guard     *guard

	// Safe from any goroutine.
	draining atomic.Bool
}

// New makes a door. Memory is not watched yet.
func New(config Config, r *router.Router, sessions *session.Manager) (*Door, error) {
	if config.Slice == 0 {
		config.Slice = slice
	}
	d := &Door{Config: config, Router: r, Sessions: sessions}
	var err error
	if d.guard, err = newGuard(&config); err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	config.Account.SetLimit(d.guard.memory.Usage().Limit / 100 * int64(config.Limits.Memory.Owed))
	sessions.SetGate(d.guard.count)
	d.admission = newAdmission(&config)
	return d, nil
}

// Ready reports whether new devices are taken.
func (d *Door) Ready() bool { return !d.draining.Load() }

// Drain lets no device in from now on, and reports whether it did before.
func (d *Door) Drain() (was bool) { return !d.draining.Swap(true) }

// Close ends the verifications that are under way. The loops have ended before.
func (d *Door) Close() { d.admission.close() }

// Shard is what a loop keeps for its connections. Owned by the loop.
type Shard struct {
	Tally
	door    *Door
	loop    *session.Loop              // static
	logged  map[string]*rate.Sometimes // lines of the log, by kind
	claimed string                     // who a connection says it is that is being refused
	guests  map[*reactor.Conn]*guest   // of connections that the limits have to remember
	intake
	turn // of the connection whose bytes are being handled
}

// NewShard makes that of a loop.
func (d *Door) NewShard(l *reactor.Loop) *Shard {
	return &Shard{
		Tally:  NewTally(),
		door:   d,
		loop:   session.NewLoop(l.Index(), func(f func()) bool { return l.Post(reactor.TaskFunc(func(*reactor.Loop) { f() })) }),
		logged: make(map[string]*rate.Sometimes),
		guests: make(map[*reactor.Conn]*guest),
	}
}

// Remembered is the number of connections that the limits have to remember.
func (s *Shard) Remembered() int { return len(s.guests) }
