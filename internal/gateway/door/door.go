// Package door lets devices in, whatever protocol they speak, and holds them to the limits of the node while they are
// connected: the entrance (entrance.go), authentication (admission.go, credential.go), the limits (limits.go), and
// what all connections of devices have in common (conn.go).
//
// A protocol has a type that embeds Conn and is a Handler. It reads the handshake, makes an Entrance for it, and calls
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

// Config has the options of a Door. gateway.Config describes them and sets the defaults.
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
	Account          *message.Account // nil has no bound
	Auth             *auth.Chain      // nil refuses every device
	Observer         Observer         // may be nil

	Usage func() (limit.Usage, error) // returns the use of memory; nil measures the process
	Slice time.Duration               // how long a loop handles one device at a time; 0 means slice
}

// Door is what the connections of a node share. Its methods are safe from any goroutine.
type Door struct {
	// Static after construction.
	Config   Config
	Router   *router.Router
	Sessions *session.Manager

	admission *admission
	guard     *guard

	// Safe from any goroutine.
	leaving  atomic.Bool // balancers are to send no more devices
	draining atomic.Bool
}

// New makes a Door. It does not watch memory yet.
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

// Load returns how many connections there are, and how many there may be.
func (d *Door) Load() (connections, limit int) {
	return d.guard.count.Connections(), d.Config.MaxConnections
}

// Memory returns the use of memory at the last look.
func (d *Door) Memory() limit.Usage { return d.guard.memory.Usage() }

// Ready reports whether devices should come to the node.
func (d *Door) Ready() bool { return !d.leaving.Load() }

// Accepts reports whether the node accepts the devices that come.
func (d *Door) Accepts() bool { return !d.draining.Load() }

// Leave makes the node not ready, from now on.
func (d *Door) Leave() { d.leaving.Store(true) }

// Drain makes the node refuse devices, and calls of those that are connected, from now on, and reports whether it accepted them
// until now.
func (d *Door) Drain() (was bool) {
	d.Leave()
	d.Sessions.Drain()
	return !d.draining.Swap(true)
}

// Close cancels the verifications and waits for them. The loops have ended before.
func (d *Door) Close() { d.admission.close() }

// Shard is what a loop keeps for its connections. Owned by the loop.
type Shard struct {
	Tally
	door        *Door
	loop        *session.Loop                 // static
	logged      map[string]*rate.Sometimes    // log lines by kind
	claimed     string                        // the device that a connection claims to be, while it is refused
	limitStates map[*reactor.Conn]*limitState // only of connections of which the limits have to remember something
	intake
	turn
}

// NewShard makes the Shard of a loop.
func (d *Door) NewShard(l *reactor.Loop) *Shard {
	return &Shard{
		Tally:       NewTally(),
		door:        d,
		loop:        session.NewLoop(l.Index(), func(f func()) bool { return l.Post(reactor.TaskFunc(func(*reactor.Loop) { f() })) }),
		logged:      make(map[string]*rate.Sometimes),
		limitStates: make(map[*reactor.Conn]*limitState),
	}
}

// Remembered returns the number of connections of which the limits remember something.
func (s *Shard) Remembered() int { return len(s.limitStates) }
