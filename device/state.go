package device

import "time"

// Phase is the phase of a device's connection.
type Phase uint8

const (
	Connecting   Phase = iota // an attempt is under way
	Connected                 // the gateway has sent hello
	Disconnected              // the connection or the attempt failed; another follows
	Closed                    // closed or given up, for good
)

func (p Phase) String() string {
	return [...]string{"connecting", "connected", "disconnected", "closed"}[p]
}

// State is a Phase with its details.
type State struct {
	Phase Phase

	// Of Connected.
	URL     string // where the device is connected
	Session string // session id
	Resumed bool   // the session existed before this connection
	Missed  uint64 // messages that the session's queue lost while the device was away

	// Of Disconnected and Closed.
	Err  error         // why
	Wait time.Duration // until the next attempt; of Disconnected
}

// State returns the current state.
func (d *Device) State() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state
}

// enter makes s the current state and calls OnState. Only Dial, and later run, call it, so that
// OnState is called for one state after another.
func (d *Device) enter(s State, l *link) {
	d.mu.Lock()
	d.state, d.live = s, l
	close(d.changed)
	d.changed = make(chan struct{})
	d.mu.Unlock()
	d.opts.Logger.Info("device "+s.Phase.String(), "url", s.URL, "session", s.Session, "resumed", s.Resumed,
		"missed", s.Missed, "error", s.Err, "wait", s.Wait)
	if d.opts.OnState != nil {
		d.opts.OnState(s)
	}
}
