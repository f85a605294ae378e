package device

import "time"

// Phase is where a device stands.
type Phase uint8

const (
	Connecting   Phase = iota // an attempt is under way
	Connected                 // hello came
	Disconnected              // the connection or the attempt failed; another follows
	Closed                    // closed or given up, for good
)

func (p Phase) String() string {
	return [...]string{"connecting", "connected", "disconnected", "closed"}[p]
}

// State is a Phase and what goes with it.
type State struct {
	Phase Phase

	// Of Connected.
	Session string // session id
	Resumed bool   // the session existed before this connection
	Missed  uint64 // messages that the gateway's offline queue lost meanwhile

	// Of Disconnected and Closed.
	Err  error         // why
	Wait time.Duration // until the next attempt; of Disconnected
}

// State returns the present state.
func (d *Device) State() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state
}

// enter moves the device to s and tells OnState. Only Dial and then run call it, so that
// the states are told one after the other.
func (d *Device) enter(s State, l *link) {
	d.mu.Lock()
	d.state, d.live = s, l
	close(d.changed)
	d.changed = make(chan struct{})
	d.mu.Unlock()
	d.opts.Logger.Info("device "+s.Phase.String(), "session", s.Session, "resumed", s.Resumed,
		"missed", s.Missed, "error", s.Err, "wait", s.Wait)
	if d.opts.OnState != nil {
		d.opts.OnState(s)
	}
}
